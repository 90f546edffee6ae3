"""One operator works, others stand by: a coordination.k8s.io Lease, as kube-controller-manager's.

Kopf has no such thing of its own. Correctness never rests on it (pods have fixed names, and every
status write its resourceVersion): it spares two operators each other's conflicts. Clocks of
different machines are never compared: a holder is gone when its record has not changed for the
lease's duration by *our* monotonic clock.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from nanogrid_operator.kube import KubeApi, KubeError, collection

Json = dict[str, Any]
log = logging.getLogger("nanogrid.lease")

LEASES = "/apis/coordination.k8s.io/v1"
DURATION_SECONDS = 6  # a holder that dies is followed after this, and a poll
RENEW_SECONDS = 2.0
POLL_SECONDS = 1.0


class LeaseLost(Exception):
    """Somebody else holds the lease: this process has to end."""


class Observed(NamedTuple):
    """A holder's record, and since when it has not changed (monotonic seconds)."""

    record: tuple[str, str]
    since: float


def observe(lease: Json, before: Observed | None, now: float) -> Observed:
    """Note a lease's record; the time stays while the record does."""
    spec = lease.get("spec") or {}
    record = (spec.get("holderIdentity") or "", spec.get("renewTime") or "")
    return before if before is not None and before.record == record else Observed(record, now)


def may_take(lease: Json, observed: Observed, identity: str, now: float) -> bool:
    """Whether a lease is ours, free, or held by somebody who has fallen silent."""
    holder = observed.record[0]
    duration = (lease.get("spec") or {}).get("leaseDurationSeconds") or DURATION_SECONDS
    return holder in ("", identity) or now >= observed.since + float(duration)


class Lease:
    """:meth:`acquire` before work, :meth:`hold` beside it, :meth:`release` after it."""

    def __init__(
        self,
        kube: KubeApi,
        namespace: str,
        name: str,
        identity: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kube = kube
        self._path = collection(LEASES, "leases", namespace)
        self._name = name
        self._identity = identity
        self._clock = clock
        self._held: Json | None = None

    async def acquire(self) -> None:
        """Return when the lease is ours; until then this process stands by."""
        observed: Observed | None = None
        told = ""
        while True:
            try:
                lease = await self._read()
                observed = observe(lease, observed, self._clock())
                if may_take(lease, observed, self._identity, self._clock()):
                    await self._write(lease, self._record(lease))
                    log.info("lease %s is ours: %s", self._name, self._identity)
                    return
                if told != observed.record[0]:
                    told = observed.record[0]
                    log.info("standing by: lease %s is held by %s", self._name, told)
            except KubeError as e:
                level = logging.INFO if e.code == 409 else logging.WARNING
                log.log(level, "lease %s: trying again: %s", self._name, e)
            await asyncio.sleep(POLL_SECONDS * random.uniform(0.8, 1.2))  # noqa: S311 jitter

    async def hold(self) -> None:
        """Renew for ever.

        An API server that is away loses nothing: nobody else can take the lease either, and no work
        can be done without it.

        Raises:
            LeaseLost: it is another's.
        """
        while True:
            await asyncio.sleep(RENEW_SECONDS * random.uniform(0.8, 1.0))  # noqa: S311 jitter
            await self._renew()

    async def _renew(self) -> None:
        assert self._held is not None  # noqa: S101 held only after it was acquired
        try:
            async with asyncio.timeout(2 * RENEW_SECONDS):
                await self._write(self._held, {"renewTime": _micro_time()})
        except TimeoutError:
            log.warning("lease %s: no answer, renewing again", self._name)
        except KubeError as e:
            log.warning("lease %s: renewing again: %s", self._name, e)
            if e.code in (404, 409):
                await self._still_ours()

    async def _still_ours(self) -> None:
        """After a conflict: somebody annotated the lease, or took it."""
        try:
            self._held = await self._read()
        except KubeError as e:
            log.warning("lease %s cannot be read: %s", self._name, e)
            return
        holder = (self._held.get("spec") or {}).get("holderIdentity")
        if holder != self._identity:
            raise LeaseLost(f"lease {self._name} is held by {holder or 'nobody'}")

    async def release(self) -> None:
        """Let the next one begin at once. A lease that cannot be released runs out by itself."""
        if self._held is None:
            return
        try:
            await self._write(self._held, {"holderIdentity": "", "leaseDurationSeconds": 1})
            log.info("lease %s released", self._name)
        except KubeError as e:
            log.warning("lease %s was not released: %s", self._name, e)
        self._held = None

    async def _read(self) -> Json:
        try:
            return await self._kube.get(self._path, self._name)
        except KubeError as e:
            if e.code != 404:
                raise
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name},
            "spec": {},
        }
        return await self._kube.create(self._path, body)

    def _record(self, lease: Json) -> Json:
        spec = lease.get("spec") or {}
        same = spec.get("holderIdentity") == self._identity
        now = _micro_time()
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": DURATION_SECONDS,
            "acquireTime": spec.get("acquireTime", now) if same else now,
            "renewTime": now,
            "leaseTransitions": (spec.get("leaseTransitions") or 0) + (not same),
        }

    async def _write(self, lease: Json, spec: Json) -> None:
        version = lease["metadata"]["resourceVersion"]
        body = {"metadata": {"resourceVersion": version}, "spec": spec}
        self._held = await self._kube.patch(self._path, self._name, body)


def _micro_time() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
