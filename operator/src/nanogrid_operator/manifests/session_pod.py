"""What the pod of a session has in addition to that of a batch job. Pure.

The kubelet restarts its containers, its agent serves HTTP, and the router and Services find it by
its labels.
"""

from nanogrid import names
from nanogrid.api.job import ExecutionJob
from nanogrid.api.runtime import Timeouts
from nanogrid.api.session import EXPOSE_ROUTER, SessionSpec
from nanogrid.types import Json
from nanogrid_operator.manifests.exposure import drain_seconds, readiness_gate
from nanogrid_operator.settings import Settings

VOLUME = "session"
PROBE = {
    "httpGet": {"path": "/health", "port": names.SESSION_PORT},
    "periodSeconds": 1,
    "timeoutSeconds": 2,
    "failureThreshold": 3,
}


def adapt(pod: Json, job: ExecutionJob, settings: Settings) -> Json:
    """Change a batch job's pod manifest, in place, into that of a session; returns it."""
    rules = job.spec.session_rules
    spec: Json = pod["spec"]
    pod["metadata"]["labels"][names.LABEL_MODE] = names.MODE_SESSION
    # The kubelet restarts a sandbox that ran out of memory, and its files stay.
    spec["restartPolicy"] = "OnFailure"
    spec["activeDeadlineSeconds"] = _deadline(
        job, rules, int(spec["terminationGracePeriodSeconds"])
    )
    agent, sandbox = spec["containers"]
    agent["ports"] = [{"name": "http", "containerPort": names.SESSION_PORT}]
    agent["readinessProbe"] = PROBE
    name, uid = job.metadata["name"], job.metadata["uid"]
    if rules.auth == "Token":
        own = names.session_object(name, uid)
        spec["volumes"].append({"name": VOLUME, "secret": {"secretName": own}})
        mount = {"name": VOLUME, "mountPath": names.SESSION_TOKEN_DIR, "readOnly": True}
        agent["volumeMounts"].append(mount)
    if rules.expose != EXPOSE_ROUTER:
        pod["metadata"]["labels"][names.LABEL_EXPOSED] = "true"
    if gate := readiness_gate(rules, name, uid):
        # The webhook of the controller adds it too, but only if it sees the binding before the pod.
        spec["readinessGates"] = [{"conditionType": gate}]
    if drain := drain_seconds(rules, settings):
        # A load balancer sends requests until the target is deregistered. The agent waits as long
        # when the session ends by itself.
        agent["lifecycle"] = sandbox["lifecycle"] = {"preStop": {"sleep": {"seconds": drain}}}
        pod["metadata"]["labels"][names.LABEL_DRAIN] = str(drain)
        spec["terminationGracePeriodSeconds"] += drain
        spec["activeDeadlineSeconds"] += 2 * drain  # the grace period, and the agent's own wait
    return pod


def _deadline(job: ExecutionJob, rules: SessionSpec, grace: int) -> int:
    """Seconds after which the kubelet ends the pod if its agent does not."""
    timeouts = job.spec.timeouts or Timeouts()
    return (
        timeouts.startup_seconds
        + timeouts.input_sync_seconds
        + rules.lifetime_seconds
        + rules.execution_seconds
        + timeouts.upload_seconds
        + grace
    )
