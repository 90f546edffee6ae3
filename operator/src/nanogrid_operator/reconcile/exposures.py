"""Creates, observes and deletes the objects that expose a session besides the router."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from nanogrid.kube.client import KubeApi
from nanogrid.kube.conventions import CORE, KubeError, collection
from nanogrid.reasons import Reason
from nanogrid.types import Json
from nanogrid_operator.manifests import exposure
from nanogrid_operator.manifests.exposure import Owned
from nanogrid_operator.model.exposure import Exposure, exposure_facts
from nanogrid_operator.model.facts import Job
from nanogrid_operator.settings import Settings

log = logging.getLogger("nanogrid.reconcile")

LOOK_SECONDS: Final = 2.0  # between looks at a new object, for its first minute
SLOW_SECONDS: Final = 15.0  # after that; a load balancer takes minutes
WORKING_SECONDS: Final = 60.0  # between looks at one that works
NEW_SECONDS: Final = 60.0


class _Look(NamedTuple):
    """One look at an object; times in seconds since the epoch."""

    found: Exposure
    first: float
    at: float

    @property
    def next(self) -> float:
        """When to look again."""
        if self.found.works:
            return self.at + WORKING_SECONDS
        new = self.at < self.first + NEW_SECONDS
        return self.at + (LOOK_SECONDS if new else SLOW_SECONDS)


@dataclass(slots=True, kw_only=True)
class Exposures:
    """The ways into sessions, each with its last look at it, by the job's uid."""

    settings: Settings
    kube: KubeApi
    clock: Callable[[], float] = time.time
    _looks: dict[str, _Look] = field(default_factory=dict, init=False)

    def known(self, job: Job) -> Exposure | None:
        """What the last look found; None before it, and for a session without such an object."""
        look = self._looks.get(job.uid)
        return look.found if look else None

    def next_look(self, job: Job) -> float | None:
        """Seconds until :meth:`observe` is due, 0 if it is; None if there is nothing to see."""
        if job.finished or exposure.entrance(job, self.settings) is None:
            return None
        look = self._looks.get(job.uid)
        return 0.0 if look is None else max(0.0, look.next - self.clock())

    def forget(self, uid: str) -> None:
        """The session has ended, or was deleted."""
        self._looks.pop(uid, None)

    async def create(self, job: Job) -> None:
        """Create the Service, and the object that refers to it. What exists already is ours."""
        service = exposure.service(job, self.settings)
        if service is None:
            return
        await self._create(job, service)
        entrance = exposure.entrance(job, self.settings)
        if entrance is not None:
            await self._create(job, entrance)
            await self._hand_over(job, service, entrance)

    async def observe(self, job: Job) -> None:
        """Look at the Ingress or TargetGroupBinding, and at its Events if it does not work."""
        entrance = exposure.entrance(job, self.settings)
        if entrance is None:
            return
        now, look = self.clock(), self._looks.get(job.uid)
        try:
            found = await self._look(job, entrance, now)
        except KubeError as e:
            # The session goes on meanwhile, and its end must not wait for this.
            log.warning("cannot look at %s: %s", _name(entrance), e)
            found = look.found if look else Exposure(works=False, detail=str(e))
        self._looks[job.uid] = _Look(found, look.first if look else now, now)

    async def remove(self, job: Job) -> None:
        """Delete what exposes an ended session, such as a load balancer's target.

        The Service of an Ingress or TargetGroupBinding goes with it: the garbage collector deletes
        it when the controller has removed its finalizer. Without the Service the controller would
        rewrite rules, and could not deregister the target in order.
        """
        self.forget(job.uid)
        service = exposure.service(job, self.settings)
        if service is None:
            return
        entrance = exposure.entrance(job, self.settings)
        try:
            if entrance is not None and await self._hand_over(job, service, entrance):
                await self._delete(job, entrance)
            else:
                await self._delete(job, service)
        except KubeError as e:
            if e.code != 403:
                raise
            # The chart's values do not allow this kind any more. The garbage collector deletes the
            # objects with the job.
            log.warning("cannot delete its ways in: %s", e)

    async def _look(self, job: Job, entrance: Owned, now: float) -> Exposure:
        body = await self._get(job, entrance)
        if body is None:
            detail = f"{entrance.body['kind']} {_name(entrance)} was deleted"
            return Exposure(works=False, reason=Reason.EXPOSURE_FAILED, detail=detail)
        found = exposure_facts(body, [], now)
        return found if found.works else exposure_facts(body, await self._events(job, body), now)

    async def _create(self, job: Job, owned: Owned) -> None:
        try:
            await self.kube.create(_path(job, owned), owned.body)
        except KubeError as e:
            if e.code != 409:
                raise

    async def _hand_over(self, job: Job, service: Owned, entrance: Owned) -> bool:
        """Let the Ingress or TargetGroupBinding own the Service; whether there is one."""
        owner = await self._get(job, entrance)
        if owner is None:
            return False
        try:
            patch = exposure.owner_of_service(owner)
            await self.kube.patch(_path(job, service), _name(service), patch)
        except KubeError as e:
            if e.code != 404:
                raise
        return True

    async def _get(self, job: Job, owned: Owned) -> Json | None:
        try:
            return await self.kube.get(_path(job, owned), _name(owned))
        except KubeError as e:
            if e.code != 404:
                raise
            return None

    async def _events(self, job: Job, body: Json) -> list[Json]:
        path = collection(CORE, "events", job.namespace)
        uid = body["metadata"]["uid"]
        return (await self.kube.list(path, fields=f"involvedObject.uid={uid}"))[0]

    async def _delete(self, job: Job, owned: Owned) -> None:
        await self.kube.delete(_path(job, owned), _name(owned))


def _path(job: Job, owned: Owned) -> str:
    return collection(owned.base, owned.plural, job.namespace)


def _name(owned: Owned) -> str:
    name: str = owned.body["metadata"]["name"]
    return name
