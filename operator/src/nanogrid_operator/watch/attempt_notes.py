"""What was observed of attempts: reports, rejections, Events of pods, sessions. No I/O."""

from nanogrid import wire
from nanogrid.types import Json
from nanogrid_operator.model.observed import Inspection, Rejection, SessionObservation

AttemptKey = tuple[str, int]  # the job's uid and the number of the attempt


class AttemptNotes:
    """The notes of each attempt, while its job exists."""

    def __init__(self) -> None:
        self._jobs: dict[str, Json] = {}
        self._reports: dict[AttemptKey, tuple[wire.Report, float]] = {}
        self._rejections: dict[AttemptKey, Rejection] = {}
        self._inspections: dict[AttemptKey, Inspection] = {}
        self._sessions: dict[AttemptKey, SessionObservation] = {}

    def drop_notes(self, uid: str) -> None:
        """Forget all notes of a job."""
        for known in (self._reports, self._rejections, self._inspections, self._sessions):
            for attempt in [a for a in known if a[0] == uid]:
                del known[attempt]

    def put_report(self, uid: str, report: wire.Report, now: float) -> None:
        """Take in a report of an agent; the first report of an attempt stays."""
        job = self._jobs.get(uid)
        if job is not None and not (job.get("status") or {}).get("completionTime"):
            self._reports.setdefault((uid, report.attempt), (report, now))

    def put_rejection(self, uid: str, attempt: int, message: str, now: float) -> None:
        """Remember that the API server rejected a pod, and since when."""
        known = self._rejections.get((uid, attempt))
        since = known.since if known else now
        self._rejections[uid, attempt] = Rejection(message, since, now)

    def drop_rejection(self, uid: str, attempt: int) -> None:
        """Forget that the API server rejected an attempt's pod."""
        self._rejections.pop((uid, attempt), None)

    def put_inspection(self, uid: str, attempt: int, inspection: Inspection) -> None:
        """Remember what the Events of an attempt's pod say."""
        self._inspections[uid, attempt] = inspection

    def inspection(self, uid: str, attempt: int) -> Inspection | None:
        """The content of the Events of an attempt's pod, if they were read."""
        return self._inspections.get((uid, attempt))

    def put_session(self, observation: SessionObservation) -> None:
        """Take in a report of a session's agent; the newest report counts."""
        report = observation.report
        if report.uid in self._jobs:
            self._sessions[report.uid, report.attempt] = observation

    def session(self, uid: str, attempt: int) -> SessionObservation | None:
        """The newest report of a session."""
        return self._sessions.get((uid, attempt))

    def drop_reports(self, uid: str) -> None:
        """Forget the reports of a job whose attempt has ended: the status has them now."""
        for attempt in [a for a in self._reports if a[0] == uid]:
            del self._reports[attempt]

    def report(self, uid: str, attempt: int) -> tuple[wire.Report, float] | None:
        """An attempt's report and when it came, in seconds since the epoch."""
        return self._reports.get((uid, attempt))

    def rejection(self, uid: str, attempt: int) -> Rejection | None:
        """The API server's last rejection of an attempt's pod."""
        return self._rejections.get((uid, attempt))
