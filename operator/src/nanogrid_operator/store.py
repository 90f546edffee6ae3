"""What the operator has seen of jobs and pods: the newest of each object wins. No I/O.

Objects come from watches, from LISTs and from the answers to our own writes, in any order. A pod
that was seen and is gone leaves a mark for as long as its job lives, so that its attempt is not
started a second time.
"""

from typing import Any

from nanogrid import names, wire

Json = dict[str, Any]


def _version(body: Json) -> int:
    # Opaque by contract, a growing integer in fact (etcd's revision), and from Kubernetes 1.35
    # on comparable by contract: https://kubernetes.io/docs/reference/using-api/api-concepts/
    return int(body["metadata"]["resourceVersion"])


class Store:
    """Jobs by uid, and each job's pod and report."""

    def __init__(self) -> None:
        self._jobs: dict[str, Json] = {}
        self._pods: dict[str, Json] = {}  # by job uid
        self._gone: set[str] = set()  # uids of jobs whose pod vanished
        self._reports: dict[str, tuple[wire.Report, float]] = {}  # by job uid

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
        self._pods.pop(uid, None)
        self._reports.pop(uid, None)
        self._gone.discard(uid)

    def put_pod(self, body: Json) -> str:
        """Take in a sandbox pod; returns its job's uid."""
        uid: str = body["metadata"]["labels"][names.LABEL_JOB_UID]
        known = self._pods.get(uid)
        if known is None or _version(body) >= _version(known):
            body["metadata"].pop("managedFields", None)
            self._pods[uid] = body
        return uid

    def drop_pod(self, body: Json) -> str:
        """Remember that a pod is gone; returns its job's uid."""
        uid: str = body["metadata"]["labels"][names.LABEL_JOB_UID]
        known = self._pods.get(uid)
        if known is not None and known["metadata"]["uid"] == body["metadata"]["uid"]:
            del self._pods[uid]
        if uid in self._jobs:
            self._gone.add(uid)
        return uid

    def put_report(self, uid: str, report: wire.Report, now: float) -> None:
        """Take in what an agent pushed; the first report of a job stays."""
        if uid in self._jobs:
            self._reports.setdefault(uid, (report, now))

    def drop_report(self, uid: str) -> None:
        """Forget a report whose job is finished; the CR has it now."""
        self._reports.pop(uid, None)

    def job(self, uid: str) -> Json | None:
        """The job of this uid."""
        return self._jobs.get(uid)

    def pod(self, uid: str) -> Json | None:
        """The pod of the job of this uid."""
        return self._pods.get(uid)

    def had_pod(self, uid: str) -> bool:
        """Whether the job had a pod that is gone, as seen here or as its status says."""
        status = (self._jobs.get(uid) or {}).get("status") or {}
        return uid in self._gone or bool(status.get("podName"))

    def report(self, uid: str) -> tuple[wire.Report, float] | None:
        """The job's report and when it came, in seconds since the epoch."""
        return self._reports.get(uid)

    def uids(self) -> list[str]:
        """The uids of all jobs."""
        return list(self._jobs)

    def replace(self, jobs: list[Json], pods: list[Json], listed_at: int) -> list[str]:
        """Take in a complete LIST; returns the uids to look at again.

        A relist after 410 Gone brings no DELETED for what vanished meanwhile, so this does: objects
        that are not in the list and not newer than it are dropped.
        """
        present = {self.put_job(j) for j in jobs}
        for uid, body in list(self._jobs.items()):
            if uid not in present and _version(body) <= listed_at:
                self.drop_job(uid)
        alive = {self.put_pod(p) for p in pods}
        for uid, body in list(self._pods.items()):
            if uid not in alive and _version(body) <= listed_at:
                self.drop_pod(body)
        return self.uids()
