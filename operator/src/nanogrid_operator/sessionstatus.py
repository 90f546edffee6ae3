"""What the status says of a session, and how often it follows. No I/O.

Readiness is written at once; counts and times of a busy session at a bounded rate, because every
write goes to everybody who watches the job.
"""

from typing import Any

from nanogrid import names
from nanogrid.reasons import Reason, sentence
from nanogrid.spec_session import EXPOSE_ROUTER
from nanogrid_operator import session
from nanogrid_operator.facts import Job, Pod, timestamp
from nanogrid_operator.jobstatus import condition
from nanogrid_operator.outcome import Outcome
from nanogrid_operator.session import Seen
from nanogrid_operator.settings import Settings

Json = dict[str, Any]

READY = "Ready"
WRITE_SECONDS = 5.0
ACTIVITY_SECONDS = 30.0  # a newer activity alone is worth a write only after so long
COUNTED = ("executions", "running", "restarts")


def status(job: Job, settings: Settings, pod: Pod | None, seen: Seen | None) -> Json:
    """status.session as it should be now; null removes what is over."""
    wanted = session.rules(job)
    assert wanted is not None  # noqa: S101 asked for sessions only
    own = names.session_object(job.name, job.uid)
    values: Json = {
        "url": session.url(job, settings),
        "tokenSecretName": own if wanted.auth == "Token" else None,
        "serviceName": own if wanted.expose != EXPOSE_ROUTER else None,
    }
    if seen is None:
        return values | {"running": None}
    report = seen.report
    values |= {
        "executions": report.executions,
        "running": report.running,
        "restarts": report.restarts,
        "lastActivityTime": timestamp(seen.last_activity),
    }
    idle = seen.last_activity + wanted.idle_timeout_seconds
    busy = report.running is not None
    values["idleDeadline"] = None if busy or pod is None else timestamp(idle)
    return values


def readiness(job: Job, pod: Pod | None) -> tuple[bool, Reason, str]:
    """The Ready condition of a session that lives: truth, reason, message."""
    if pod is not None and pod.ready:
        return True, Reason.SESSION_READY, ""
    reason = Reason.INITIALIZING
    if pod is not None and pod.container(names.CONTAINER_SANDBOX).restarts:
        reason = Reason.SANDBOX_RESTARTED
    return False, reason, sentence(reason)


def _with(job: Job, fact: tuple[bool, Reason, str], now: float) -> list[Json]:
    """The job's conditions with this one as Ready."""
    fresh = condition(job, READY, *fact, now)
    others = [c for c in job.status.get("conditions") or [] if c["type"] != READY]
    return [*others, fresh]


class Followed:
    """Remembers when each session's status was last written."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._written: dict[str, float] = {}

    def due(self, job: Job, pod: Pod | None, seen: Seen | None, now: float) -> bool:
        """Whether the status of a running session should be written now."""
        if session.rules(job) is None or job.finished:
            return False
        truth, _, _ = readiness(job, pod)
        said = next((c for c in job.status.get("conditions") or [] if c["type"] == READY), None)
        if said is None or said["status"] != str(truth):
            return True
        waited = now - self._written.get(job.uid, 0.0)
        if waited < WRITE_SECONDS:
            return False
        wanted, known = status(job, self._settings, pod, seen), job.status.get("session") or {}
        if any(wanted.get(n) != known.get(n) for n in COUNTED if n in wanted):
            return True
        newer = wanted.get("lastActivityTime") != known.get("lastActivityTime")
        return newer and seen is not None and waited >= ACTIVITY_SECONDS

    def check(self, job: Job, now: float) -> float:
        """Seconds until a status that was just written may be written again."""
        waited = now - self._written.get(job.uid, 0.0)
        return WRITE_SECONDS - waited if waited < WRITE_SECONDS else ACTIVITY_SECONDS

    def progress(self, job: Job, pod: Pod | None, seen: Seen | None, now: float) -> Json:
        """The session's part of a progress write; nothing for a batch job."""
        if session.rules(job) is None:
            return {}
        return {
            "session": status(job, self._settings, pod, seen),
            "conditions": _with(job, readiness(job, pod), now),
        }

    def final(self, job: Job, seen: Seen | None, ended: Outcome, whole: Json, now: float) -> Json:
        """A terminal status with the session's part; a batch job's stays as it is."""
        if session.rules(job) is None:
            return whole
        over = condition(job, READY, False, ended.reason, "", now)
        told = status(job, self._settings, None, seen) | {"running": None}
        if ended.result.executions is not None:
            told["executions"] = ended.result.executions  # the last report may be older
        return whole | {"session": told, "conditions": [*whole["conditions"], over]}

    def wrote(self, job: Job, now: float) -> None:
        """The status was written."""
        if session.rules(job) is not None:
            self._written[job.uid] = now

    def forget(self, job: Job) -> None:
        """The session has ended."""
        self._written.pop(job.uid, None)
