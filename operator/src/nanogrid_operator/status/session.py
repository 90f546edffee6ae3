"""The status of a session, and how often it is written. No I/O.

Readiness and its reason are written at once. Counts and times of a busy session are written at a
bounded rate, because every write goes to every client that watches the job.
"""

from typing import NamedTuple

from nanogrid import names
from nanogrid.api.session import (
    EXPOSE_INGRESS,
    EXPOSE_ROUTER,
    EXPOSE_TARGET_GROUP,
    SessionSpec,
)
from nanogrid.reasons import Reason, sentence
from nanogrid.types import Json
from nanogrid_operator.decision.outcome import Outcome
from nanogrid_operator.decision.start_errors import start_failed
from nanogrid_operator.kube.objects import timestamp
from nanogrid_operator.manifests import exposure
from nanogrid_operator.model.exposure import Exposure
from nanogrid_operator.model.facts import Job
from nanogrid_operator.model.observed import SessionObservation
from nanogrid_operator.model.pod_facts import Container, Pod
from nanogrid_operator.settings import Settings
from nanogrid_operator.status.conditions import Fact, condition, find_condition, with_condition

READY = "Ready"
WRITE_SECONDS = 5.0
ACTIVITY_SECONDS = 30.0  # between two writes if only the last activity has changed
COUNTED = ("executions", "running", "restarts")
# Reasons of a session that is not ready although its pod works. Each is a Warning Event too.
EXPOSURE_PROBLEMS = frozenset(
    {Reason.EXPOSURE_FAILED, Reason.EXPOSURE_IGNORED, Reason.TARGET_UNHEALTHY}
)
# Reason codes of Elastic Load Balancing for a target that it has not checked yet.
NEW_TARGET = ("Elb.RegistrationInProgress", "Elb.InitialHealthChecking")
_CONTROLLED = frozenset({EXPOSE_INGRESS, EXPOSE_TARGET_GROUP})


class SessionFacts(NamedTuple):
    """What is known of a session that has not ended."""

    pod: Pod | None = None
    observed: SessionObservation | None = None
    exposure: Exposure | None = None


def session_status(job: Job, settings: Settings, facts: SessionFacts) -> Json:
    """The current status.session of a session; null removes what is over."""
    rules = exposure.rules(job)
    assert rules is not None  # noqa: S101 called for sessions only
    pod, observed = facts.pod, facts.observed
    name, uid = job.name, job.uid
    values: Json = {
        "url": _url(job, rules, settings, facts.exposure),
        "tokenSecretName": names.session_object(name, uid) if rules.auth == "Token" else None,
        "serviceName": None if rules.expose == EXPOSE_ROUTER else names.session_service(name, uid),
    }
    if observed is None:
        return values | {"running": None}
    report = observed.report
    values |= {
        "executions": report.executions,
        "running": report.running,
        "restarts": report.restarts,
        "lastActivityTime": timestamp(observed.last_activity),
    }
    idle = observed.last_activity + rules.idle_seconds
    busy = report.running is not None
    values["idleDeadline"] = None if busy or pod is None else timestamp(idle)
    return values


def _url(job: Job, rules: SessionSpec, settings: Settings, found: Exposure | None) -> str | None:
    """The URL of the session. That of a load balancer stays while its address is not known."""
    shown: str | None = (job.status.get("session") or {}).get("url")
    address = found.address if found else ""
    if shown and rules.expose == EXPOSE_INGRESS and not address:
        return shown
    return exposure.url(job, settings, address)


def readiness(job: Job, facts: SessionFacts) -> Fact:
    """The Ready condition of a session that has not ended: its pod and its way in must work."""
    pod, rules = facts.pod, exposure.rules(job)
    if job.restored and pod is None:
        return _not_ready(Reason.RESTORED, job.restored)
    controlled = rules is not None and rules.expose in _CONTROLLED
    found = facts.exposure or Exposure(works=not controlled)
    if found.reason in EXPOSURE_PROBLEMS and not found.works:
        return _not_ready(found.reason, found.detail)
    if pod is None or not (pod.ready or pod.waits_for_gates) or not _serves(job, pod, facts):
        return _initializing(pod)
    if not found.works:
        return _not_ready(found.reason, found.detail)
    if pod.ready:
        return Fact(READY, True, Reason.SESSION_READY)
    unhealthy = pod.unhealthy_target and not pod.unhealthy_target.startswith(NEW_TARGET)
    reason = Reason.TARGET_UNHEALTHY if unhealthy else Reason.EXPOSURE_PENDING
    return _not_ready(reason, pod.unhealthy_target)


def _serves(job: Job, pod: Pod, facts: SessionFacts) -> bool:
    """Whether the agent serves the session. A pool's pod is ready before a session claims it."""
    if not pod.pool:
        return True
    if facts.observed is not None:
        return facts.observed.report.ready
    shown = find_condition(job, READY)  # an operator that takes over has no report yet
    return shown is not None and shown["status"] == "True"


def _not_ready(reason: Reason, detail: str) -> Fact:
    return Fact(READY, False, reason, sentence(reason, detail))


def _initializing(pod: Pod | None) -> Fact:
    reason = Reason.INITIALIZING
    sandbox = Container() if pod is None else pod.container(names.CONTAINER_SANDBOX)
    if sandbox.restarts and not start_failed(sandbox):
        reason = Reason.SANDBOX_RESTARTED
    return Fact(READY, False, reason, sentence(reason))


class SessionStatusTracker:
    """Remembers when each session's status was last written."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._written: dict[str, float] = {}

    def due(self, job: Job, facts: SessionFacts, now: float) -> bool:
        """Whether the status of a running session should be written now."""
        if exposure.rules(job) is None or job.finished:
            return False
        written, wanted = find_condition(job, READY), readiness(job, facts)
        shown = written and (written["status"], written["reason"])
        if shown != (str(wanted.truth), wanted.reason.value):
            return True
        waited = now - self._written.get(job.uid, 0.0)
        if waited < WRITE_SECONDS:
            return False
        if condition(job, wanted, now) != written:
            return True
        current, observed = session_status(job, self._settings, facts), facts.observed
        known = job.status.get("session") or {}
        if any(current.get(n) != known.get(n) for n in COUNTED if n in current):
            return True
        newer = current.get("lastActivityTime") != known.get("lastActivityTime")
        return newer and observed is not None and waited >= ACTIVITY_SECONDS

    def next_check(self, job: Job, now: float) -> float:
        """Seconds until the status may be written again."""
        waited = now - self._written.get(job.uid, 0.0)
        return WRITE_SECONDS - waited if waited < WRITE_SECONDS else ACTIVITY_SECONDS

    def problem(self, job: Job, facts: SessionFacts) -> Fact | None:
        """What is wrong with the way into a session, if the status does not show it yet."""
        if exposure.rules(job) is None:
            return None
        fact, written = readiness(job, facts), find_condition(job, READY)
        shown = written is not None and written["reason"] == fact.reason
        return fact if fact.reason in EXPOSURE_PROBLEMS and not shown else None

    def progress(self, job: Job, facts: SessionFacts, now: float) -> Json:
        """The session's part of a progress write; empty for a batch job."""
        if exposure.rules(job) is None:
            return {}
        return {
            "session": session_status(job, self._settings, facts),
            "conditions": with_condition(job, readiness(job, facts), now),
        }

    def final(
        self,
        job: Job,
        observed: SessionObservation | None,
        ended: Outcome,
        status: Json,
        now: float,
    ) -> Json:
        """A terminal status with the session's part; a batch job's stays as it is."""
        if exposure.rules(job) is None:
            return status
        over = condition(job, Fact(READY, False, ended.reason), now)
        last = SessionFacts(observed=observed)
        part = session_status(job, self._settings, last) | {"running": None}
        if ended.result.executions is not None:
            part["executions"] = ended.result.executions  # the last report may be older
        return status | {"session": part, "conditions": [*status["conditions"], over]}

    def written(self, job: Job, now: float) -> None:
        """The status was written."""
        if exposure.rules(job) is not None:
            self._written[job.uid] = now

    def forget(self, job: Job) -> None:
        """The session has ended."""
        self._written.pop(job.uid, None)
