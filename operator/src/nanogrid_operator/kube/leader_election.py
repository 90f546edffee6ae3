"""Leader election: one operator works, others stand by. It uses a coordination.k8s.io Lease.

kube-controller-manager does the same; Kopf has no leader election. Correctness does not depend on
it: pods have fixed names, and every status write has a resourceVersion. It only saves two operators
from conflicts with each other. :mod:`.lease` has the rules.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from nanogrid.backoff import jitter
from nanogrid.kube.client import KubeApi
from nanogrid.kube.conventions import CORE, KubeError, collection
from nanogrid.types import Json
from nanogrid_operator.kube.leader_address import LeaderAddress, address_in
from nanogrid_operator.kube.lease import (
    CALL_SECONDS,
    DURATION_SECONDS,
    POD_SECONDS,
    POLL_SECONDS,
    RENEW_AGAIN_SECONDS,
    RENEW_SECONDS,
    HolderState,
    Observed,
    holder_state,
    may_take,
    must_ask,
    observe,
    pod_of,
)

log = logging.getLogger("nanogrid.lease")

LEASES = "/apis/coordination.k8s.io/v1"


class LeaseLost(Exception):
    """Another process holds the Lease: this process must end."""


@dataclass(slots=True)
class LeaderElector:
    """:meth:`acquire` before the work, :meth:`renew` during it, :meth:`release` after it.

    Attributes:
        kube: The API server. Nothing else uses this client, so that no other request delays a
            renewal.
        namespace: Of the Lease, and of the operators' pods.
        name: Of the Lease.
        identity: Of this process; see :func:`.lease.identity_of`.
        clock: Monotonic seconds.
        may_renew: Whether this process still works; if not, another one may take over.
    """

    kube: KubeApi
    namespace: str
    name: str
    identity: str
    clock: Callable[[], float] = time.monotonic
    may_renew: Callable[[], bool] = lambda: True
    _held: Json | None = field(default=None, init=False)
    _observed: Observed | None = field(default=None, init=False)
    _asked_at: float | None = field(default=None, init=False)  # for the pod of this holder
    _address: tuple[str, LeaderAddress] | None = field(default=None, init=False)  # of a holder

    def leader_address(self) -> LeaderAddress | None:
        """Where another process, the leader, takes reports; None if no leader is known.

        It counts as long as a Lease lasts, as far as this process has read: a pod that is gone may
        lose its address to another one. Another thread may call this.
        """
        observed, known = self._observed, self._address
        if observed is None or known is None or known[0] != observed.holder:
            return None
        return known[1] if self.clock() - observed.since < DURATION_SECONDS else None

    @property
    def _path(self) -> str:
        return collection(LEASES, "leases", self.namespace)

    async def acquire(self) -> None:
        """Return when this process holds the Lease; until then it stands by."""
        while True:
            if await self.try_acquire():
                return
            await asyncio.sleep(jitter(POLL_SECONDS, 0.8, 1.2))

    async def try_acquire(self) -> bool:
        """Take the Lease if that is possible now; returns whether this process holds it."""
        if self._held is not None:
            return True
        try:
            async with asyncio.timeout(CALL_SECONDS):
                return await self._take()
        except TimeoutError:
            log.warning("cannot acquire Lease %s, trying again: no answer", self.name)
        except KubeError as e:
            level = logging.INFO if e.code == 409 else logging.WARNING
            log.log(level, "cannot acquire Lease %s, trying again: %s", self.name, e)
        return False

    async def _take(self) -> bool:
        sent = self.clock()
        lease = await self._read()
        before, now = self._observed, observe(lease, self._observed, sent, self.clock())
        self._observed = now
        first = before is None or before.holder != now.holder
        state = HolderState.UNKNOWN
        ended = may_take(lease, now, self.identity, state)
        if not ended and must_ask(now, None if first else self._asked_at):
            self._asked_at = now.read_at
            state = await self._state(now.holder)
        if may_take(lease, now, self.identity, state):
            await self._write(lease, self._record(lease))
            self._address = None  # for good: this process leads until it ends
            log.info("acquired Lease %s as %s%s", self.name, self.identity, _why(now, state))
            return True
        if first:
            log.info("standing by: %s holds Lease %s", now.holder, self.name)
        return False

    async def _state(self, holder: str) -> HolderState:
        """Ask for the pod of a holder. Without an answer the Lease's duration decides."""
        pod = pod_of(holder)
        if pod is None or holder == self.identity:
            return HolderState.UNKNOWN
        try:
            async with asyncio.timeout(POD_SECONDS):
                found = await self.kube.get(collection(CORE, "pods", self.namespace), pod.name)
        except (KubeError, TimeoutError) as e:
            if isinstance(e, KubeError) and e.code == 404:
                self._address = None
                return holder_state(pod, None)
            problem = str(e) or "no answer"
            log.warning(
                "cannot read pod %s, which holds Lease %s: %s", pod.name, self.name, problem
            )
            return HolderState.UNKNOWN
        state = holder_state(pod, found)
        address = address_in(found) if state is HolderState.UNKNOWN else None
        self._address = None if address is None else (holder, address)
        return state

    async def renew(self) -> None:
        """Renew the Lease for ever.

        An outage of the API server does not lose the Lease: no other process can take it either,
        and no work is possible without the API server.

        Raises:
            LeaseLost: Another process holds it.
        """
        pause = RENEW_SECONDS
        while True:
            await asyncio.sleep(jitter(pause, 0.8, 1.0))
            if not self.may_renew():
                log.error("not renewing Lease %s: the process hangs", self.name)
                pause = RENEW_SECONDS
                continue
            pause = RENEW_SECONDS if await self._renew_once() else RENEW_AGAIN_SECONDS

    async def _renew_once(self) -> bool:
        """Renew the Lease; returns whether the API server has answered that it is renewed."""
        assert self._held is not None  # noqa: S101 renewed only after it was acquired
        try:
            async with asyncio.timeout(CALL_SECONDS):
                await self._write(self._held, {"renewTime": _micro_time()})
                return True
        except TimeoutError:
            log.warning("cannot renew Lease %s, trying again: no answer", self.name)
        except KubeError as e:
            log.warning("cannot renew Lease %s, trying again: %s", self.name, e)
            if e.code in (404, 409):
                await self._still_ours()
        return False

    async def _still_ours(self) -> None:
        """Check the holder after a conflict: someone annotated the Lease, or took it."""
        try:
            async with asyncio.timeout(CALL_SECONDS):
                lease = await self._read()
        except (KubeError, TimeoutError) as e:
            log.warning("cannot read Lease %s: %s %s", self.name, type(e).__name__, e)
            return
        holder = (lease.get("spec") or {}).get("holderIdentity")
        self._held = lease if holder == self.identity else None  # no release of another's Lease
        if self._held is None:
            raise LeaseLost(f"{holder or 'no process'} holds Lease {self.name}")

    async def release(self) -> None:
        """Release the Lease, so that another process can start at once. Otherwise it expires."""
        if self._held is None:
            return
        free = {"holderIdentity": "", "leaseDurationSeconds": 1}
        try:
            async with asyncio.timeout(CALL_SECONDS):
                try:
                    await self._write(self._held, free)
                except KubeError as e:
                    if e.code != 409:
                        raise
                    await self._still_ours()  # the last renewal may have had no answer
                    await self._write(self._held, free)
            log.info("released Lease %s", self.name)
        except (KubeError, TimeoutError, LeaseLost) as e:
            log.warning("cannot release Lease %s: %s %s", self.name, type(e).__name__, e)
        self._held = None

    async def _read(self) -> Json:
        try:
            return await self.kube.get(self._path, self.name)
        except KubeError as e:
            if e.code != 404:
                raise
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self.name},
            "spec": {},
        }
        return await self.kube.create(self._path, body)

    def _record(self, lease: Json) -> Json:
        spec = lease.get("spec") or {}
        same = spec.get("holderIdentity") == self.identity
        now = _micro_time()
        return {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": DURATION_SECONDS,
            "acquireTime": spec.get("acquireTime", now) if same else now,
            "renewTime": now,
            "leaseTransitions": (spec.get("leaseTransitions") or 0) + (not same),
        }

    async def _write(self, lease: Json, spec: Json) -> None:
        version = lease["metadata"]["resourceVersion"]
        body = {"metadata": {"resourceVersion": version}, "spec": spec}
        self._held = await self.kube.patch(self._path, self.name, body)


def _why(observed: Observed, state: HolderState) -> str:
    """Why the Lease could be taken from its last holder, for the log."""
    if not observed.holder:
        return ""
    if state is HolderState.UNKNOWN:
        return f": {observed.holder} did not renew it for {observed.unchanged:.1f} s"
    return f": the pod of {observed.holder} {'is gone' if state is HolderState.GONE else 'ended'}"


def _micro_time() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
