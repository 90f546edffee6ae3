"""The status of a session, and how often it is written. No I/O.

Readiness is written at once. Counts and times of a busy session are written at a bounded rate,
because every write goes to every client that watches the job.
"""

from nanogrid import names
from nanogrid.api.session import EXPOSE_ROUTER
from nanogrid.reasons import Reason, sentence
from nanogrid.types import Json
from nanogrid_operator.decision.outcome import Outcome
from nanogrid_operator.decision.start_errors import start_failed
from nanogrid_operator.kube.objects import timestamp
from nanogrid_operator.manifests import session
from nanogrid_operator.model.facts import Job
from nanogrid_operator.model.observed import SessionObservation
from nanogrid_operator.model.pod_facts import Container, Pod
from nanogrid_operator.settings import Settings
from nanogrid_operator.status.conditions import Fact, condition, find_condition, with_condition

READY = "Ready"
WRITE_SECONDS = 5.0
ACTIVITY_SECONDS = 30.0  # between two writes if only the last activity has changed
COUNTED = ("executions", "running", "restarts")


def session_status(
    job: Job, settings: Settings, pod: Pod | None, observed: SessionObservation | None
) -> Json:
    """The current status.session of a session; null removes what is over."""
    rules = session.rules(job)
    assert rules is not None  # noqa: S101 called for sessions only
    own = names.session_object(job.name, job.uid)
    values: Json = {
        "url": session.url(job, settings),
        "tokenSecretName": own if rules.auth == "Token" else None,
        "serviceName": own if rules.expose != EXPOSE_ROUTER else None,
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


def readiness(pod: Pod | None) -> Fact:
    """The Ready condition of a session that has not ended."""
    if pod is not None and pod.ready:
        return Fact(READY, True, Reason.SESSION_READY)
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

    def due(
        self, job: Job, pod: Pod | None, observed: SessionObservation | None, now: float
    ) -> bool:
        """Whether the status of a running session should be written now."""
        if session.rules(job) is None or job.finished:
            return False
        written = find_condition(job, READY)
        if written is None or written["status"] != str(readiness(pod).truth):
            return True
        waited = now - self._written.get(job.uid, 0.0)
        if waited < WRITE_SECONDS:
            return False
        current = session_status(job, self._settings, pod, observed)
        known = job.status.get("session") or {}
        if any(current.get(n) != known.get(n) for n in COUNTED if n in current):
            return True
        newer = current.get("lastActivityTime") != known.get("lastActivityTime")
        return newer and observed is not None and waited >= ACTIVITY_SECONDS

    def next_check(self, job: Job, now: float) -> float:
        """Seconds until the status may be written again."""
        waited = now - self._written.get(job.uid, 0.0)
        return WRITE_SECONDS - waited if waited < WRITE_SECONDS else ACTIVITY_SECONDS

    def progress(
        self, job: Job, pod: Pod | None, observed: SessionObservation | None, now: float
    ) -> Json:
        """The session's part of a progress write; empty for a batch job."""
        if session.rules(job) is None:
            return {}
        return {
            "session": session_status(job, self._settings, pod, observed),
            "conditions": with_condition(job, readiness(pod), now),
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
        if session.rules(job) is None:
            return status
        over = condition(job, Fact(READY, False, ended.reason), now)
        part = session_status(job, self._settings, None, observed) | {"running": None}
        if ended.result.executions is not None:
            part["executions"] = ended.result.executions  # the last report may be older
        return status | {"session": part, "conditions": [*status["conditions"], over]}

    def written(self, job: Job, now: float) -> None:
        """The status was written."""
        if session.rules(job) is not None:
            self._written[job.uid] = now

    def forget(self, job: Job) -> None:
        """The session has ended."""
        self._written.pop(job.uid, None)
