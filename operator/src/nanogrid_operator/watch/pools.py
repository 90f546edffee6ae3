"""What the operator has observed of pools and of the pods that wait in them. No I/O.

A pod leaves a pool when a job claims it: then :mod:`.cache` has it.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import NamedTuple

from nanogrid import names, pod_identity
from nanogrid.types import Json
from nanogrid_operator.model.claim import ClaimProofs, is_of_pool
from nanogrid_operator.model.pool import Pool, PoolPod, pool_facts, pool_pod_facts
from nanogrid_operator.model.versions import version_of

Key = tuple[str, str]  # namespace and name
AttemptKey = tuple[str, int]  # the job's uid and the number of the attempt


class _Claimed(NamedTuple):
    """A pod that says it has a job. It is kept when it has ended: a late event does not change it.

    ``attempt`` is None if the operator has not claimed it.
    """

    attempt: AttemptKey | None
    ended: bool
    version: int

    @property
    def runs(self) -> bool:
        return self.attempt is not None and not self.ended


class PoolCache:
    """Pools, and their waiting pods by name.

    Args:
        proofs: show which pods the operator has created.
        on_change: receives the key of a changed pool.
        on_left: receives the uid of a pod that is gone, or that a job has.
    """

    def __init__(
        self,
        proofs: ClaimProofs,
        on_change: Callable[[str], None],
        on_left: Callable[[str], None] = lambda pod_uid: None,
    ) -> None:
        self._proofs = proofs
        self._on_change = on_change
        self._on_left = on_left
        self._pools: dict[Key, Pool] = {}
        self._pods: defaultdict[Key, dict[str, PoolPod]] = defaultdict(dict)  # by the pool
        self._pool_of: dict[str, tuple[Key, str]] = {}  # by the pod's uid: its pool and its name
        self._claimed: defaultdict[Key, dict[str, _Claimed]] = defaultdict(dict)  # by the pod's uid

    def put_pool(self, body: Json) -> None:
        """Take in a pool."""
        pool = pool_facts(body)
        key = (pool.namespace, pool.name)
        known = self._pools.get(key)
        if known is None or int(pool.resource_version) >= int(known.resource_version):
            self._pools[key] = pool
            self._changed(key)

    def drop_pool(self, body: Json) -> None:
        """A pool was deleted; the garbage collector deletes its pods."""
        key = (body["metadata"]["namespace"], body["metadata"]["name"])
        self._pools.pop(key, None)
        self._changed(key)

    def replace_pools(self, bodies: Iterable[Json], listed_at: int) -> None:
        """Take in a complete LIST of pools."""
        present = set()
        for body in bodies:
            self.put_pool(body)
            present.add((body["metadata"]["namespace"], body["metadata"]["name"]))
        for key, pool in list(self._pools.items()):
            if key not in present and int(pool.resource_version) <= listed_at:
                del self._pools[key]
                self._changed(key)

    def pool(self, key: str) -> Pool | None:
        """The pool of a key."""
        namespace, _, name = key.partition("/")
        return self._pools.get((namespace, name))

    def pools(self, namespace: str) -> list[Pool]:
        """The pools of a namespace, by name."""
        found = [pool for (where, _), pool in self._pools.items() if where == namespace]
        return sorted(found, key=lambda pool: pool.name)

    def all_keys(self) -> list[str]:
        """The keys of all pools."""
        return [pool.key for pool in self._pools.values()]

    def put_pod(self, body: Json) -> None:
        """Take in a pod of a pool, whether it waits or has been claimed."""
        key, uid = _pool_of(body), body["metadata"]["uid"]
        pod = pool_pod_facts(body)
        known = self._pods[key].get(pod.name)
        newest = 0 if known is None or known.uid != uid else int(known.resource_version)
        if newest > version_of(body):
            return
        job_uid, attempt = pod_identity.job_uid(body), pod_identity.attempt(body)
        if job_uid:
            of = (job_uid, attempt) if self._proofs.holds(body, job_uid, attempt) else None
            self._claimed[key][uid] = _Claimed(of, pod.ended, version_of(body))
            self._forget(key, pod.name, uid)
        elif uid in self._claimed[key] or not self._proofs.created_by_operator(body):
            return  # a late event does not bring it back; others cannot add pods to a pool
        else:
            if known is not None and known.uid != uid:
                self._forget(key, pod.name, known.uid)
            self._pods[key][pod.name] = pod
            self._pool_of[uid] = (key, pod.name)
        self._changed(key)

    def drop_pod(self, body: Json) -> None:
        """A pod is gone."""
        key, uid = _pool_of(body), body["metadata"]["uid"]
        self._forget(key, body["metadata"]["name"], uid)
        self._claimed[key].pop(uid, None)
        self._changed(key)

    def replace_pods(self, bodies: Iterable[Json], listed_at: int) -> None:
        """Take in a complete LIST of pods; those of no pool are left out."""
        present = set()
        for body in bodies:
            if is_of_pool(body):
                self.put_pod(body)
                present.add(body["metadata"]["uid"])
        for key, pods in self._pods.items():
            for pod in list(pods.values()):
                if pod.uid not in present and int(pod.resource_version) <= listed_at:
                    self._forget(key, pod.name, pod.uid)
                    self._changed(key)
            claimed = self._claimed[key]
            for uid in claimed.keys() - present:
                if claimed[uid].version <= listed_at:
                    del claimed[uid]
                    self._changed(key)

    def pods(self, pool: Pool) -> list[PoolPod]:
        """The pods of a pool that no job has claimed, the oldest first."""
        found = self._pods.get((pool.namespace, pool.name), {})
        return sorted(found.values(), key=lambda pod: (pod.created, pod.name))

    def claimed(self, pool: Pool) -> int:
        """In how many pods of a pool a job runs."""
        found = self._claimed.get((pool.namespace, pool.name), {})
        return sum(each.runs for each in found.values())

    def waiting_pod(self, pod_uid: str) -> tuple[str, PoolPod] | None:
        """The key of its pool, and a pod that no job has claimed; None if it is not known."""
        found = self._pool_of.get(pod_uid)
        if found is None:
            return None
        (namespace, name), pod = found
        return f"{namespace}/{name}", self._pods[namespace, name][pod]

    def has_pod(self, namespace: str, name: str, uid: str) -> bool:
        """Whether a pod of this name and uid waits in a pool."""
        found = self._pool_of.get(uid)
        return found is not None and (found[0][0], found[1]) == (namespace, name)

    def attempt_of(self, pod_uid: str) -> AttemptKey | None:
        """The job's uid and attempt of a claimed pod, while the pod has not ended."""
        found = next((c[pod_uid] for c in self._claimed.values() if pod_uid in c), None)
        return found.attempt if found is not None and found.runs else None

    def _forget(self, key: Key, name: str, uid: str) -> None:
        known = self._pods[key].get(name)
        if known is not None and known.uid == uid:
            del self._pods[key][name]
        self._pool_of.pop(uid, None)
        self._on_left(uid)

    def _changed(self, key: Key) -> None:
        self._on_change("/".join(key))


def _pool_of(pod: Json) -> Key:
    return pod["metadata"]["namespace"], pod["metadata"]["labels"][names.LABEL_POOL]
