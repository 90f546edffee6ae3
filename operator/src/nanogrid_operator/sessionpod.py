"""What the pod of a session has more than that of a batch job. Pure.

Its containers are started again by the kubelet, its agent serves HTTP, and its labels let a router
and Services find it.
"""

from typing import Any

from nanogrid import names
from nanogrid.job import ExecutionJob
from nanogrid.spec_run import Timeouts
from nanogrid.spec_session import EXPOSE_ROUTER, Session
from nanogrid_operator.settings import Settings

Json = dict[str, Any]

VOLUME = "session"
PROBE = {
    "httpGet": {"path": "/health", "port": names.SESSION_PORT},
    "periodSeconds": 1,
    "timeoutSeconds": 2,
    "failureThreshold": 3,
}


def adapt(pod: Json, job: ExecutionJob, settings: Settings) -> Json:
    """Make a batch job's pod manifest a session's, in place; returns it."""
    rules = job.spec.session_rules
    spec: Json = pod["spec"]
    pod["metadata"]["labels"][names.LABEL_MODE] = names.MODE_SESSION
    # A sandbox that ran out of memory comes back, and its files are still there.
    spec["restartPolicy"] = "OnFailure"
    spec["activeDeadlineSeconds"] = _deadline(
        job, rules, int(spec["terminationGracePeriodSeconds"])
    )
    agent, sandbox = spec["containers"]
    agent["ports"] = [{"name": "http", "containerPort": names.SESSION_PORT}]
    agent["readinessProbe"] = PROBE
    if rules.auth == "Token":
        own = names.session_object(job.metadata["name"], job.metadata["uid"])
        spec["volumes"].append({"name": VOLUME, "secret": {"secretName": own}})
        mount = {"name": VOLUME, "mountPath": names.SESSION_TOKEN_DIR, "readOnly": True}
        agent["volumeMounts"].append(mount)
    if rules.expose != EXPOSE_ROUTER and settings.deregistration_seconds > 0:
        # A load balancer goes on sending requests until its targets are deregistered.
        pause = {"preStop": {"sleep": {"seconds": settings.deregistration_seconds}}}
        agent["lifecycle"] = sandbox["lifecycle"] = pause
        spec["terminationGracePeriodSeconds"] += settings.deregistration_seconds
    return pod


def _deadline(job: ExecutionJob, rules: Session, grace: int) -> int:
    """Seconds after which the kubelet ends the pod should its agent not have done so."""
    timeouts = job.spec.timeouts or Timeouts()
    return (
        timeouts.startup_seconds
        + timeouts.input_sync_seconds
        + rules.max_lifetime_seconds
        + rules.execution_timeout_seconds
        + timeouts.upload_seconds
        + grace
    )
