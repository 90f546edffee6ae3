"""What the operator has seen of jobs and pods: the newest of each object wins. No I/O.

Objects come from watches, from LISTs and from the answers to our own writes, in any order. A pod
that was seen and is gone leaves a mark for as long as its job lives, so that its attempt is not
started a second time.
"""

from typing import Any, NamedTuple

from nanogrid import names, wire
from nanogrid_operator.facts import attempt_number

Json = dict[str, Any]
Attempt = tuple[str, int]  # the job's uid and the number of the attempt


class Rejection(NamedTuple):
    """A pod that the API server refused: its words, since when, and when last (epoch seconds)."""

    message: str
    since: float
    last: float


def attempt_of(pod: Json) -> Attempt:
    """Which attempt of which job a sandbox pod belongs to, by its labels."""
    labels = pod["metadata"]["labels"]
    return labels[names.LABEL_JOB_UID], attempt_number(labels)


def _version(body: Json) -> int:
    # Opaque by contract, a growing integer in fact (etcd's revision), and from Kubernetes 1.35
    # on comparable by contract: https://kubernetes.io/docs/reference/using-api/api-concepts/
    return int(body["metadata"]["resourceVersion"])


class Store:
    """Jobs by uid, and each attempt's pod, report and refusal."""

    def __init__(self) -> None:
        self._jobs: dict[str, Json] = {}
        self._pods: dict[Attempt, Json] = {}
        self._gone: dict[Attempt, Json] = {}  # the last that was seen of pods that vanished
        self._reports: dict[Attempt, tuple[wire.Report, float]] = {}
        self._rejections: dict[Attempt, Rejection] = {}
        self.primed = False  # whether a complete LIST was ever taken in

    def put_job(self, body: Json) -> str:
        """Take in a job; returns its uid."""
        uid: str = body["metadata"]["uid"]
        known = self._jobs.get(uid)
        if known is None or _version(body) >= _version(known):
            body["metadata"].pop("managedFields", None)
            self._jobs[uid] = body
        return uid

    def drop_job(self, uid: str) -> None:
        """Forget a deleted job and all that belongs to it."""
        self._jobs.pop(uid, None)
        kinds: tuple[dict[Attempt, Any], ...] = (
            self._pods, self._gone, self._reports, self._rejections,
        )  # fmt: skip
        for kept in kinds:
            for attempt in [a for a in kept if a[0] == uid]:
                del kept[attempt]

    def put_pod(self, body: Json) -> str:
        """Take in a sandbox pod; returns its job's uid."""
        attempt = attempt_of(body)
        known, gone = self._pods.get(attempt), self._gone.get(attempt)
        if gone is not None and gone["metadata"]["uid"] == body["metadata"]["uid"]:
            return attempt[0]  # a late answer does not bring a deleted pod back
        if known is None or _version(body) >= _version(known):
            body["metadata"].pop("managedFields", None)
            self._pods[attempt] = body
            self._rejections.pop(attempt, None)
        return attempt[0]

    def drop_pod(self, body: Json) -> str:
        """Remember that a pod is gone, and how it was; returns its job's uid."""
        attempt = attempt_of(body)
        known = self._pods.get(attempt)
        if known is not None and known["metadata"]["uid"] == body["metadata"]["uid"]:
            del self._pods[attempt]
        if attempt[0] in self._jobs:
            self._gone[attempt] = body
        return attempt[0]

    def put_report(self, uid: str, report: wire.Report, now: float) -> None:
        """Take in what an agent pushed; the first report of an attempt stays."""
        if uid in self._jobs:
            self._reports.setdefault((uid, report.attempt), (report, now))

    def put_rejection(self, uid: str, attempt: int, message: str, now: float) -> None:
        """Remember that the API server refused a pod, and since when it does."""
        known = self._rejections.get((uid, attempt))
        since = known.since if known else now
        self._rejections[uid, attempt] = Rejection(message, since, now)

    def drop_reports(self, uid: str) -> None:
        """Forget the reports of a job whose attempt is over; the CR has them now."""
        for attempt in [a for a in self._reports if a[0] == uid]:
            del self._reports[attempt]

    def job(self, uid: str) -> Json | None:
        """The job of this uid."""
        return self._jobs.get(uid)

    def pod(self, uid: str, attempt: int) -> Json | None:
        """The pod of a job's attempt."""
        return self._pods.get((uid, attempt))

    def gone(self, uid: str, attempt: int) -> Json | None:
        """The last that was seen of an attempt's pod, if it vanished while this process watched."""
        return self._gone.get((uid, attempt))

    def report(self, uid: str, attempt: int) -> tuple[wire.Report, float] | None:
        """An attempt's report and when it came, in seconds since the epoch."""
        return self._reports.get((uid, attempt))

    def rejection(self, uid: str, attempt: int) -> "Rejection | None":
        """The API server's last refusal of an attempt's pod."""
        return self._rejections.get((uid, attempt))

    def uids(self) -> list[str]:
        """The uids of all jobs."""
        return list(self._jobs)

    def replace(self, jobs: list[Json], pods: list[Json], listed_at: int) -> list[str]:
        """Take in a complete LIST; returns the uids to look at again.

        A relist after 410 Gone brings no DELETED for what vanished meanwhile, so this does: objects
        that are not in the list and not newer than it are dropped.
        """
        self.primed = True
        present = {self.put_job(j) for j in jobs}
        for uid, body in list(self._jobs.items()):
            if uid not in present and _version(body) <= listed_at:
                self.drop_job(uid)
        alive = {attempt_of(p) for p in pods}
        for body in pods:
            self.put_pod(body)
        for attempt, body in list(self._pods.items()):
            if attempt not in alive and _version(body) <= listed_at:
                self.drop_pod(body)
        return self.uids()
