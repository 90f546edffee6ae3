"""What the operator has observed of jobs and pods: the newest version of each object. No I/O.

Objects come in any order. While its job exists, a pod that is gone is remembered: the attempt gets
no second one. Reports and other notes are in :mod:`.attempt_notes`.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from nanogrid import pod_identity
from nanogrid.lifecycle import pod_finished
from nanogrid.logs import fields_of_job
from nanogrid.types import Json
from nanogrid_operator.kube.objects import names_pod, pod_name
from nanogrid_operator.model.claim import ClaimProofs, is_of_pool
from nanogrid_operator.model.lifecycle import inert, settled
from nanogrid_operator.model.pod_facts import pod_facts, same_for_job
from nanogrid_operator.model.versions import version_of
from nanogrid_operator.watch.attempt_notes import AttemptKey, AttemptNotes
from nanogrid_operator.watch.transform import same_pod, transform_job, transform_pod

PodKey = tuple[str, str]  # namespace and name


class CacheObserver(Protocol):
    """Is called when a pod changes or a job is deleted."""

    def observe_pod(self, namespace: str, name: str, body: Json | None) -> None:
        """A pod has changed, or is gone (None)."""

    def forget_job(self, uid: str) -> None:
        """A job was deleted."""


def _key(body: Json) -> PodKey:
    return body["metadata"]["namespace"], body["metadata"]["name"]


def _owned(pod: Json, job_uid: str) -> bool:
    owners = pod["metadata"].get("ownerReferences") or []
    return any(o.get("uid") == job_uid for o in owners)


class JobCache(AttemptNotes):
    """Jobs by uid, and the pod, report and rejection of each attempt.

    Args:
        default_ttl: the time to live of jobs whose spec names none, in seconds; None: never.
        confirmed: False for a process that stands by.
        proofs: show which pods of pools the operator has claimed.
        waiting: whether a pod of this namespace, name and uid waits in a pool.
    """

    def __init__(
        self,
        default_ttl: int | None = None,
        *,
        confirmed: bool = True,
        proofs: ClaimProofs | None = None,
        waiting: Callable[[str, str, str], bool] = lambda *_: False,
    ) -> None:
        super().__init__()
        self._default_ttl = default_ttl
        self._proofs = proofs or ClaimProofs("")
        self._waiting = waiting
        self._observers: list[CacheObserver] = []
        self._pods: dict[PodKey, Json] = {}
        self._pods_of: defaultdict[str, set[PodKey]] = defaultdict(set)  # by the job's uid
        self._claimed: dict[AttemptKey, PodKey] = {}  # the pod of a pool that an attempt has
        self._gone: dict[PodKey, Json] = {}  # the last observed state of pods that are gone
        self._missed_pods: set[PodKey] = set()  # were gone before this process started
        self.namespaces: set[str] = set()  # that have or had jobs
        self.primed = False  # whether the cache ever took in a complete LIST
        # Whether no pod of an earlier leader can be missing. A watch may lag, so a standby that
        # takes over reads everything again, and creates no pod before.
        self.confirmed = confirmed

    def add_observer(self, observer: CacheObserver) -> None:
        """Call this observer from now on."""
        self._observers.append(observer)

    def put_job(self, body: Json) -> str:
        """Take in a job; returns its uid."""
        uid: str = body["metadata"]["uid"]
        self.namespaces.add(body["metadata"]["namespace"])
        known = self._jobs.get(uid)
        if known is None or version_of(body) >= version_of(known):
            self._jobs[uid] = transform_job(body)
        return uid

    def drop_job(self, uid: str) -> None:
        """Forget a deleted job and everything that belongs to it."""
        self._jobs.pop(uid, None)
        for observer in self._observers:
            observer.forget_job(uid)
        for key in self._pods_of.pop(uid, ()):
            self._gone.pop(key, None)
            if self._pods.pop(key, None) is not None:
                self._pod_changed(key, None)
        self.drop_notes(uid)
        for attempt in [a for a in self._claimed if a[0] == uid]:
            del self._claimed[attempt]

    def put_pod(self, body: Json) -> str:
        """Take in a sandbox pod; returns the uid of the job that it names."""
        key, uid = _key(body), pod_identity.job_uid(body)
        if not _owned(body, uid):
            return uid  # another owner's pod with a job's label, or one that waits in a pool
        if is_of_pool(body):
            attempt = pod_identity.attempt(body)
            if not self._proofs.holds(body, uid, attempt):
                return uid  # the operator has not claimed it
            self._claimed[uid, attempt] = key
        known, gone = self._pods.get(key), self._gone.get(key)
        if gone is not None and gone["metadata"]["uid"] == body["metadata"]["uid"]:
            return uid  # a late answer does not bring back a deleted pod
        if known is None or version_of(body) >= version_of(known):
            self._pods[key] = kept = transform_pod(body)
            self._pods_of[uid].add(key)
            self.drop_rejection(uid, pod_identity.attempt(body))
            if known is None or not same_pod(known, kept):
                self._pod_changed(key, kept)
        return uid

    def take_pod(self, body: Json) -> tuple[str, bool]:
        """Take in a sandbox pod, and whether a decision about its job may depend on what is new.

        It does not after the echo of the operator's own write, nor when the pod gets its node, nor
        when the pod of a settled job changes: what is left to do there waits for a time.
        """
        key = _key(body)
        before = self._pods.get(key)
        known = None if before is None else pod_facts(before)
        uid = self.put_pod(body)
        after = self._pods.get(key)
        if known is None or after is None:
            return uid, True
        job = self._jobs.get(uid)
        if job is not None and settled(job):
            return uid, False
        return uid, after is not before and not same_for_job(known, pod_facts(after))

    def drop_pod(self, body: Json) -> str:
        """Remember that a pod is gone, and its last state; returns the uid of its job."""
        key, uid = _key(body), pod_identity.job_uid(body)
        known, attempt = self._pods.get(key), pod_identity.attempt(body)
        if known is not None and known["metadata"]["uid"] == body["metadata"]["uid"]:
            del self._pods[key]
        claimed = is_of_pool(body) and self._proofs.holds(body, uid, attempt)
        if claimed and uid in self._jobs:
            self._claimed[uid, attempt] = key
        if uid in self._jobs and (claimed or known is not None or not is_of_pool(body)):
            self._gone[key] = transform_pod(body)
            self._pods_of[uid].add(key)
        if key not in self._pods:
            self._pod_changed(key, None)
        return uid

    def _pod_changed(self, key: PodKey, body: Json | None) -> None:
        for observer in self._observers:
            observer.observe_pod(*key, body)

    def log_fields(self, uid: str) -> dict[str, Any]:
        """What logs about a job show; only the uid if the job is unknown."""
        body = self._jobs.get(uid)
        return {"uid": uid} if body is None else fields_of_job(body)

    def log_fields_of_pod(self, pod_uid: str) -> dict[str, Any]:
        """What logs about a pod show: its job and attempt; nothing if it is unknown. Slow."""
        for pod in self._pods.values():
            if pod["metadata"].get("uid") == pod_uid:
                attempt = pod_identity.attempt(pod)
                return {**self.log_fields(pod_identity.job_uid(pod)), "attempt": attempt}
        return {}

    def _of_attempt(self, pods: dict[PodKey, Json], uid: str, attempt: int) -> Json | None:
        """The attempt's own pod: its namespace and name are fixed, and the job owns it.

        Labels do not count: anybody who can create a pod can give it any label. A pod of a pool
        has another name, and the operator's proof.
        """
        key = self._claimed.get((uid, attempt)) or self._pod_key(uid, attempt)
        return None if key is None else pods.get(key)

    def _pod_key(self, uid: str, attempt: int) -> PodKey | None:
        job = self._jobs.get(uid)
        if job is None:
            return None
        namespace, name = _key(job)
        return namespace, pod_name(name, uid, attempt)

    def job(self, uid: str) -> Json | None:
        """The job of this uid."""
        return self._jobs.get(uid)

    def pod(self, uid: str, attempt: int) -> Json | None:
        """The pod of a job's attempt."""
        return self._of_attempt(self._pods, uid, attempt)

    def has_pod(self, namespace: str, name: str, uid: str) -> bool:
        """Whether a pod of this name and uid exists, also if it waits in a pool."""
        found = self._pods.get((namespace, name), {"metadata": {"uid": None}})
        return found["metadata"]["uid"] == uid or self._waiting(namespace, name, uid)

    def pods(self, uid: str) -> list[Json]:
        """All pods of a job, of any attempt."""
        keys = sorted(self._pods_of.get(uid, ()))
        found = [self._pods[key] for key in keys if key in self._pods]
        return [pod for pod in found if self._is_own(uid, pod)]

    def _is_own(self, uid: str, pod: Json) -> bool:
        attempt = pod_identity.attempt(pod)
        return _key(pod) in (self._pod_key(uid, attempt), self._claimed.get((uid, attempt)))

    def gone(self, uid: str, attempt: int) -> Json | None:
        """The last state of an attempt's pod, if it was deleted while this process watched."""
        return self._of_attempt(self._gone, uid, attempt)

    def jobs_without_pod(self) -> dict[str, dict[str, str]]:
        """Jobs whose current attempt shows no pod: by namespace, the pod's name and job's uid."""
        found: dict[str, dict[str, str]] = {}
        for uid, body in self._jobs.items():
            status = body.get("status") or {}
            if status.get("completionTime"):
                continue
            namespace, name = _key(body)
            attempts = status.get("attempts") or []
            attempt = attempts[-1]["number"] + 1 if attempts else 0
            pod = pod_name(name, uid, attempt)
            if not names_pod(status, name, uid, attempt) and self.pod(uid, attempt) is None:
                found.setdefault(namespace, {})[pod] = uid
        return found

    def put_missed_pod(self, namespace: str, name: str) -> None:
        """Remember that a pod of this name once started: its attempt gets no second pod."""
        self._missed_pods.add((namespace, name))

    def missed_pod(self, uid: str, attempt: int) -> bool:
        """Whether an attempt had a pod that was gone before this process started."""
        return bool(self._missed_pods) and self._pod_key(uid, attempt) in self._missed_pods

    def uids(self) -> list[str]:
        """The uids of all jobs."""
        return list(self._jobs)

    def newest_unknown_job(self, bodies: Iterable[Json]) -> int:
        """The highest version among jobs that are newer than the cache; 0 if there is none."""
        return _newest((b, self._jobs.get(b["metadata"]["uid"])) for b in bodies)

    def newest_unknown_pod(self, bodies: Iterable[Json]) -> int:
        """The highest version among pods that are newer than the cache; 0 if there is none."""
        return _newest((b, self._pods.get(_key(b)) or self._gone.get(_key(b))) for b in bodies)

    def replace(self, jobs: list[Json], pods: list[Json], listed_at: int) -> list[str]:
        """Take in a complete LIST; returns the uids of the jobs that may need work.

        Jobs whose pods have ended come first: their clients wait for results, while a new pod has
        just started. Of the others the oldest come first.

        After 410 Gone, a new LIST brings no DELETED event for what was deleted meanwhile. So
        objects that are not in the list, and not newer than it, are dropped here.
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
        return self.due()

    def due(self) -> list[str]:
        """The uids of the jobs that may need work, in the order of :meth:`replace`."""
        due = [
            uid
            for uid, body in self._jobs.items()
            if not self.inert(body) or self._has_live_pod(uid)
        ]
        return sorted(due, key=lambda uid: (not self._has_ended_pod(uid), self._created(uid)))

    def inert(self, body: Json) -> bool:
        """Whether there is nothing left to do for a job, now or later."""
        return inert(body, self._default_ttl)

    def _created(self, uid: str) -> str:
        """When a job was created, as RFC 3339, which sorts by time."""
        created: str = self._jobs[uid]["metadata"].get("creationTimestamp", "")
        return created

    def _has_live_pod(self, uid: str) -> bool:
        """Whether a pod of the job has not ended; a finished job's pod may outlive it."""
        found = (self._pods.get(key) for key in self._pods_of.get(uid, ()))
        return any(pod is not None and not pod_finished(pod) for pod in found)

    def _has_ended_pod(self, uid: str) -> bool:
        """Whether a pod of the job has ended, or is gone."""
        found = (self._pods.get(key) for key in self._pods_of.get(uid, ()))
        return any(pod is None or pod_finished(pod) for pod in found)


def _newest(pairs: Iterable[tuple[Json, Json | None]]) -> int:
    """The highest version among objects that are newer than what is known of them, or 0."""
    fresh = (b for b, known in pairs if known is None or version_of(b) > version_of(known))
    return max(map(version_of, fresh), default=0)
