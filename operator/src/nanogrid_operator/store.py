"""What the operator has seen of jobs and pods: the newest of each object wins. No I/O.

Objects come from watches, from LISTs and from the answers to our own writes, in any order. A pod
that was seen and is gone leaves a mark for as long as its job lives, so that its attempt is not
started a second time.
"""

from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

from nanogrid import names, wire
from nanogrid.reasons import Reason
from nanogrid_operator.facts import attempt_number
from nanogrid_operator.pod import pod_name
from nanogrid_operator.session import Seen
from nanogrid_operator.slim import inert, slim_job, slim_pod

Json = dict[str, Any]
Attempt = tuple[str, int]  # the job's uid and the number of the attempt
PodKey = tuple[str, str]  # namespace and name


class Rejection(NamedTuple):
    """A pod that the API server refused: its words, since when, and when last (epoch seconds)."""

    message: str
    since: float
    last: float


class Inspection(NamedTuple):
    """What a pod's events said when they were last asked (epoch seconds)."""

    warning: tuple[Reason, str] | None
    at: float


def job_of(pod: Json) -> str:
    """The uid of the job that a pod's label names; anybody may write labels, so it is a hint."""
    uid: str = pod["metadata"]["labels"][names.LABEL_JOB_UID]
    return uid


def _key(body: Json) -> PodKey:
    return body["metadata"]["namespace"], body["metadata"]["name"]


def _owned(pod: Json, job_uid: str) -> bool:
    owners = pod["metadata"].get("ownerReferences") or []
    return any(o.get("uid") == job_uid for o in owners)


def version_of(body: Json) -> int:
    """An object's resourceVersion as a number that grows with each change."""
    # Opaque by contract, a growing integer in fact (etcd's revision), and from Kubernetes 1.35
    # on comparable by contract: https://kubernetes.io/docs/reference/using-api/api-concepts/
    return int(body["metadata"]["resourceVersion"])


class Store:
    """Jobs by uid, and each attempt's pod, report and refusal."""

    def __init__(self) -> None:
        self._jobs: dict[str, Json] = {}
        self._pods: dict[PodKey, Json] = {}
        self._pods_of: defaultdict[str, set[PodKey]] = defaultdict(set)  # by the job's uid
        self._gone: dict[PodKey, Json] = {}  # the last that was seen of pods that vanished
        self._reports: dict[Attempt, tuple[wire.Report, float]] = {}
        self._rejections: dict[Attempt, Rejection] = {}
        self._inspections: dict[Attempt, Inspection] = {}
        self._sessions: dict[Attempt, Seen] = {}
        self._witnessed: set[PodKey] = set()  # pods that vanished before this process began
        # Told of each pod that is another than before: namespace, name, and the pod or None.
        self.pod_changed: Callable[[str, str, Json | None], None] = lambda *_: None
        self.primed = False  # whether a complete LIST was ever taken in

    def put_job(self, body: Json) -> str:
        """Take in a job; returns its uid."""
        uid: str = body["metadata"]["uid"]
        known = self._jobs.get(uid)
        if known is None or version_of(body) >= version_of(known):
            self._jobs[uid] = slim_job(body)
        return uid

    def drop_job(self, uid: str) -> None:
        """Forget a deleted job and all that belongs to it."""
        self._jobs.pop(uid, None)
        for key in self._pods_of.pop(uid, ()):
            self._gone.pop(key, None)
            if self._pods.pop(key, None) is not None:
                self.pod_changed(*key, None)
        known = (*self._reports, *self._rejections, *self._inspections, *self._sessions)
        for attempt in [a for a in known if a[0] == uid]:
            self._reports.pop(attempt, None)
            self._rejections.pop(attempt, None)
            self._inspections.pop(attempt, None)
            self._sessions.pop(attempt, None)

    def put_pod(self, body: Json) -> str:
        """Take in a sandbox pod; returns the uid of the job that it names."""
        key, uid = _key(body), job_of(body)
        if not _owned(body, uid):
            return uid  # somebody else's pod with a job's label
        known, gone = self._pods.get(key), self._gone.get(key)
        if gone is not None and gone["metadata"]["uid"] == body["metadata"]["uid"]:
            return uid  # a late answer does not bring a deleted pod back
        if known is None or version_of(body) >= version_of(known):
            self._pods[key] = slim_pod(body)
            self._pods_of[uid].add(key)
            self.drop_rejection(uid, attempt_number(body["metadata"]["labels"]))
            self.pod_changed(*key, self._pods[key])
        return uid

    def drop_pod(self, body: Json) -> str:
        """Remember that a pod is gone, and how it was; returns the uid of the job that it names."""
        key, uid = _key(body), job_of(body)
        known = self._pods.get(key)
        if known is not None and known["metadata"]["uid"] == body["metadata"]["uid"]:
            del self._pods[key]
        if uid in self._jobs:
            self._gone[key] = slim_pod(body)
            self._pods_of[uid].add(key)
        if key not in self._pods:
            self.pod_changed(*key, None)
        return uid

    def _of_attempt(self, pods: dict[PodKey, Json], uid: str, attempt: int) -> Json | None:
        """The pod that is the attempt's own: by name and namespace, which are fixed, and owner.

        Labels do not count, because whoever may create a pod anywhere may give it any label.
        """
        job = self._jobs.get(uid)
        if job is None:
            return None
        namespace, name = _key(job)
        return pods.get((namespace, pod_name(name, uid, attempt)))

    def put_report(self, uid: str, report: wire.Report, now: float) -> None:
        """Take in what an agent pushed; the first report of an attempt stays."""
        job = self._jobs.get(uid)
        if job is not None and not (job.get("status") or {}).get("completionTime"):
            self._reports.setdefault((uid, report.attempt), (report, now))

    def put_rejection(self, uid: str, attempt: int, message: str, now: float) -> None:
        """Remember that the API server refused a pod, and since when it does."""
        known = self._rejections.get((uid, attempt))
        since = known.since if known else now
        self._rejections[uid, attempt] = Rejection(message, since, now)

    def drop_rejection(self, uid: str, attempt: int) -> None:
        """Forget that the API server refused an attempt's pod."""
        self._rejections.pop((uid, attempt), None)

    def put_inspection(self, uid: str, attempt: int, inspection: "Inspection") -> None:
        """Remember what an attempt's pod's events said."""
        self._inspections[uid, attempt] = inspection

    def inspection(self, uid: str, attempt: int) -> "Inspection | None":
        """What an attempt's pod's events said, if they were asked."""
        return self._inspections.get((uid, attempt))

    def put_session(self, seen: Seen) -> None:
        """Take in what a session's agent says of itself; the newest report counts."""
        if seen.report.uid in self._jobs:
            self._sessions[seen.report.uid, seen.report.attempt] = seen

    def session(self, uid: str, attempt: int) -> Seen | None:
        """The newest report of a session."""
        return self._sessions.get((uid, attempt))

    def drop_reports(self, uid: str) -> None:
        """Forget the reports of a job whose attempt is over; the CR has them now."""
        for attempt in [a for a in self._reports if a[0] == uid]:
            del self._reports[attempt]

    def has(self, uid: str) -> bool:
        """Whether the job of this uid is known."""
        return uid in self._jobs

    def job(self, uid: str) -> Json | None:
        """The job of this uid."""
        return self._jobs.get(uid)

    def pod(self, uid: str, attempt: int) -> Json | None:
        """The pod of a job's attempt."""
        return self._of_attempt(self._pods, uid, attempt)

    def gone(self, uid: str, attempt: int) -> Json | None:
        """The last that was seen of an attempt's pod, if it vanished while this process watched."""
        return self._of_attempt(self._gone, uid, attempt)

    def unstarted(self) -> dict[str, dict[str, str]]:
        """Of jobs whose present attempt shows no pod: by namespace, the pod's name and the job."""
        found: dict[str, dict[str, str]] = {}
        for uid, body in self._jobs.items():
            status = body.get("status") or {}
            if status.get("completionTime"):
                continue
            namespace, name = _key(body)
            attempts = status.get("attempts") or []
            pod = pod_name(name, uid, attempts[-1]["number"] + 1 if attempts else 0)
            if status.get("podName") != pod and (namespace, pod) not in self._pods:
                found.setdefault(namespace, {})[pod] = uid
        return found

    def witness(self, namespace: str, pod: str) -> None:
        """Remember that a pod of this name once started: its attempt gets no second one."""
        self._witnessed.add((namespace, pod))

    def witnessed(self, uid: str, attempt: int) -> bool:
        """Whether an attempt had a pod that nobody who is here has seen."""
        job = self._jobs.get(uid)
        if job is None or not self._witnessed:
            return False
        namespace, name = _key(job)
        return (namespace, pod_name(name, uid, attempt)) in self._witnessed

    def report(self, uid: str, attempt: int) -> tuple[wire.Report, float] | None:
        """An attempt's report and when it came, in seconds since the epoch."""
        return self._reports.get((uid, attempt))

    def rejection(self, uid: str, attempt: int) -> "Rejection | None":
        """The API server's last refusal of an attempt's pod."""
        return self._rejections.get((uid, attempt))

    def uids(self) -> list[str]:
        """The uids of all jobs."""
        return list(self._jobs)

    def news(self, bodies: list[Json], *, pods: bool = False) -> int:
        """The newest version among objects that are newer than what is stored; 0 if none is."""
        known: list[tuple[Json, Json | None]]
        if pods:
            known = [(b, self._pods.get(_key(b)) or self._gone.get(_key(b))) for b in bodies]
        else:
            known = [(b, self._jobs.get(b["metadata"]["uid"])) for b in bodies]
        fresh = [b for b, old in known if old is None or version_of(b) > version_of(old)]
        return max(map(version_of, fresh), default=0)

    def replace(self, jobs: list[Json], pods: list[Json], listed_at: int) -> list[str]:
        """Take in a complete LIST; returns the uids of jobs about which there may be work.

        Those whose pods have ended come first: somebody waits for their results, while a new pod
        has all its time before it. Of the others the oldest come first.

        A relist after 410 Gone brings no DELETED for what vanished meanwhile, so this does: objects
        that are not in the list and not newer than it are dropped.
        """
        self.primed = True
        present = {self.put_job(j) for j in jobs}
        for uid, body in list(self._jobs.items()):
            if uid not in present and version_of(body) <= listed_at:
                self.drop_job(uid)
        alive = {_key(p) for p in pods}
        for body in pods:
            self.put_pod(body)
        for key, body in list(self._pods.items()):
            if key not in alive and version_of(body) <= listed_at:
                self.drop_pod(body)
        due = [uid for uid, body in self._jobs.items() if not inert(body)]
        return sorted(due, key=lambda uid: (not self._has_ended_pod(uid), self._created(uid)))

    def _created(self, uid: str) -> str:
        """When a job was made, as RFC 3339, which sorts by time."""
        made: str = self._jobs[uid]["metadata"].get("creationTimestamp", "")
        return made

    def _has_ended_pod(self, uid: str) -> bool:
        """Whether a pod of the job has ended, or vanished."""
        found = (self._pods.get(key) for key in self._pods_of.get(uid, ()))
        phases = [pod["status"].get("phase") if pod else "Failed" for pod in found]
        return any(phase in ("Succeeded", "Failed") for phase in phases)
