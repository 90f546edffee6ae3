"""Leader election: one operator works, others stand by. It uses a coordination.k8s.io Lease.

kube-controller-manager does the same; Kopf has no leader election. Correctness does not depend on
it: pods have fixed names, and every status write has a resourceVersion. It only saves two operators
from conflicts with each other. Clocks of different machines are never compared: a leader is gone
when its record has not changed for the Lease's duration by the monotonic clock of this process.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from nanogrid.backoff import jitter
from nanogrid.kube.client import KubeApi
from nanogrid.kube.conventions import KubeError, collection
from nanogrid.types import Json

log = logging.getLogger("nanogrid.lease")

LEASES = "/apis/coordination.k8s.io/v1"
DURATION_SECONDS = 6  # another operator takes over this long after a crash, plus one poll
RENEW_SECONDS = 2.0
POLL_SECONDS = 1.0


class LeaseLost(Exception):
    """Another process holds the Lease: this process must end."""


class Observed(NamedTuple):
    """The record of a Lease, and since when it has not changed (monotonic seconds)."""

    record: tuple[str, str]
    since: float


def observe(lease: Json, before: Observed | None, now: float) -> Observed:
    """Observe the record of a Lease; the time stays while the record does."""
    spec = lease.get("spec") or {}
    record = (spec.get("holderIdentity") or "", spec.get("renewTime") or "")
    return before if before is not None and before.record == record else Observed(record, now)


def may_take(lease: Json, observed: Observed, identity: str, now: float) -> bool:
    """Whether a Lease is ours, free, or held by a process that has stopped renewing it."""
    holder = observed.record[0]
    duration = (lease.get("spec") or {}).get("leaseDurationSeconds") or DURATION_SECONDS
    return holder in ("", identity) or now >= observed.since + float(duration)


@dataclass(slots=True)
class LeaderElector:
    """:meth:`acquire` before the work, :meth:`renew` during it, :meth:`release` after it."""

    kube: KubeApi
    namespace: str
    name: str
    identity: str
    clock: Callable[[], float] = time.monotonic
    _held: Json | None = field(default=None, init=False)

    @property
    def _path(self) -> str:
        return collection(LEASES, "leases", self.namespace)

    async def acquire(self) -> None:
        """Return when this process holds the Lease; until then it stands by."""
        observed: Observed | None = None
        logged = ""
        while True:
            try:
                lease = await self._read()
                observed = observe(lease, observed, self.clock())
                if may_take(lease, observed, self.identity, self.clock()):
                    await self._write(lease, self._record(lease))
                    log.info("acquired Lease %s as %s", self.name, self.identity)
                    return
                if logged != observed.record[0]:
                    logged = observed.record[0]
                    log.info("standing by: %s holds Lease %s", logged, self.name)
            except KubeError as e:
                level = logging.INFO if e.code == 409 else logging.WARNING
                log.log(level, "cannot acquire Lease %s, trying again: %s", self.name, e)
            await asyncio.sleep(jitter(POLL_SECONDS, 0.8, 1.2))

    async def renew(self) -> None:
        """Renew the Lease for ever.

        An outage of the API server does not lose the Lease: no other process can take it either,
        and no work is possible without the API server.

        Raises:
            LeaseLost: Another process holds it.
        """
        while True:
            await asyncio.sleep(jitter(RENEW_SECONDS, 0.8, 1.0))
            await self._renew_once()

    async def _renew_once(self) -> None:
        assert self._held is not None  # noqa: S101 renewed only after it was acquired
        try:
            async with asyncio.timeout(2 * RENEW_SECONDS):
                await self._write(self._held, {"renewTime": _micro_time()})
        except TimeoutError:
            log.warning("cannot renew Lease %s, trying again: no answer", self.name)
        except KubeError as e:
            log.warning("cannot renew Lease %s, trying again: %s", self.name, e)
            if e.code in (404, 409):
                await self._still_ours()

    async def _still_ours(self) -> None:
        """Check the holder after a conflict: someone annotated the Lease, or took it."""
        try:
            self._held = await self._read()
        except KubeError as e:
            log.warning("cannot read Lease %s: %s", self.name, e)
            return
        holder = (self._held.get("spec") or {}).get("holderIdentity")
        if holder != self.identity:
            raise LeaseLost(f"{holder or 'no process'} holds Lease {self.name}")

    async def release(self) -> None:
        """Release the Lease, so that another process can start at once. Otherwise it expires."""
        if self._held is None:
            return
        try:
            await self._write(self._held, {"holderIdentity": "", "leaseDurationSeconds": 1})
            log.info("released Lease %s", self.name)
        except KubeError as e:
            log.warning("cannot release Lease %s: %s", self.name, e)
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


def _micro_time() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
