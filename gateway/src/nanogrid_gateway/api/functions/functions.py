"""Functions: they are read, listed and deleted here; :mod:`.upload` creates and extends them."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from nanogrid import names
from nanogrid.api.function import Function
from nanogrid.backoff import exponential, jitter
from nanogrid.job_function import function_of
from nanogrid.kube.conventions import KubeError
from nanogrid.lifecycle import finished
from nanogrid.plurals import counted
from nanogrid.reasons import Reason
from nanogrid.types import Json
from nanogrid_gateway.api.async_objects import AsyncObjects
from nanogrid_gateway.api.errors import ApiError, cluster_unavailable
from nanogrid_gateway.api.functions.view import function_line, model_of, version_line
from nanogrid_gateway.api.job_fields import request_id_of
from nanogrid_gateway.api.listing import list_page
from nanogrid_gateway.kube.client import Kube

log = logging.getLogger("nanogrid.gateway.functions")

PAGE: Final = "500"
TRIES: Final = 5  # at a change of a function that others change at the same time
FIRST_PAUSE_SECONDS: Final = 0.05
UPLOAD_SECONDS: Final = 3600.0  # the longest from storing a ZIP to naming it, and much more
GONE: Final = 404
CHANGED: Final = 409


def pause(attempt: int) -> float:
    """Seconds between two tries at a change, after try number ``attempt`` (from 0)."""
    return jitter(exponential(attempt, FIRST_PAUSE_SECONDS))


def deleting(body: Json) -> bool:
    """Whether a function is being deleted: a finalizer delays its end."""
    return bool(body["metadata"].get("deletionTimestamp"))


def own_keys(body: Json, prefix: str, written: Mapping[str, float], now: float) -> list[str]:
    """The keys that go with a function. Pure.

    An upload owns its ZIP until a function names it, so a ZIP that this one does not name stays
    until no upload can be in progress any more.

    Args:
        body: the function.
        prefix: of its objects.
        written: when each object below the prefix was written.
        now: the time, as that of ``written``.
    """
    named = {version["s3"]["key"] for version in body["spec"]["versions"]}

    def owned(key: str, at: float) -> bool:
        below = "/" in key.removeprefix(prefix)  # the input of a run
        return below or key in named or now - at > UPLOAD_SECONDS

    return [key for key, at in written.items() if owned(key, at)]


def contended(function_id: str) -> ApiError:
    """409: too many requests change a function at the same time."""
    message = f"Other requests change {function_id} at the same time. Try again."
    return ApiError(409, Reason.FUNCTION_IN_USE, message, retry_after=1)


@dataclass(frozen=True, slots=True)
class Functions:
    """All functions of the gateway's namespace."""

    kube: Kube
    objects: AsyncObjects
    clock: Callable[[], float] = time.time

    async def get(self, function_id: str) -> Function:
        """A function.

        Raises:
            ApiError: 404.
        """
        return model_of(await self.body(function_id))

    async def find(self, function_id: str) -> Json | None:
        """A function as Kubernetes has it, also while it is being deleted; None if there is none.

        Raises:
            ApiError: 503.
        """
        try:
            return await self.kube.get(self.kube.functions, function_id)
        except KubeError as e:
            raise cluster_unavailable(str(e)) from e

    async def body(self, function_id: str) -> Json:
        """A function as Kubernetes has it.

        Raises:
            ApiError: 404, 503.
        """
        body = await self.find(function_id)
        if body is None or deleting(body):
            raise ApiError(404, Reason.FUNCTION_NOT_FOUND)
        return body

    async def show(self, function_id: str) -> Json:
        """A function as the API shows it."""
        return function_line(await self.body(function_id))

    async def versions(self, function_id: str) -> list[Json]:
        """All versions, the newest first."""
        spec = (await self.get(function_id)).spec
        return [version_line(v) for v in sorted(spec.versions, key=lambda v: -v.version)]

    async def page(self, limit: int, token: str | None) -> Json:
        """One page of all functions."""
        query = {"limit": str(limit)} | ({"continue": token} if token else {})
        page = await list_page(self.kube, self.kube.functions, query)
        more = page["metadata"].get("continue")
        return {"functions": [function_line(b) for b in page["items"]]} | (
            {"continue": more} if more else {}
        )

    async def delete(self, function_id: str) -> Json:
        """Delete a function and its objects in S3.

        Raises:
            ApiError: 404, 503, or 409 while runs of it have not ended, or others change it.
        """
        keys = await self._delete_function(function_id)
        # A run may have started since; its code must stay until it ends.
        try:
            await self._refuse_active(function_id)
        except ApiError as e:
            log.warning("functions/%s is deleted, its code is kept: %s", function_id, e)
            return {"functionId": function_id, "deletedObjects": 0}
        try:
            await self.objects.delete(keys)
        except ApiError as e:
            log.error("functions/%s is deleted, its code is not: %s", function_id, e)
            raise
        return {"functionId": function_id, "deletedObjects": len(keys)}

    async def _delete_function(self, function_id: str) -> list[str]:
        """Delete the Function only; returns the keys of its objects in S3."""
        prefix = self.objects.key(names.function_prefix(function_id))
        for attempt in range(TRIES):
            body = await self.body(function_id)
            await self._refuse_active(function_id)
            # Listed first: once the function is gone, an upload of its name may store new code.
            written = await self.objects.written(prefix)
            try:
                # Unchanged since it was read, so `body` names all of its versions.
                await self.kube.delete(self.kube.functions, body)
            except KubeError as e:
                if e.code == GONE:
                    # Who deleted it deletes its code. A new function may have the same keys by now.
                    raise ApiError(404, Reason.FUNCTION_NOT_FOUND) from e
                if e.code != CHANGED:
                    raise cluster_unavailable(str(e)) from e
                await asyncio.sleep(pause(attempt))
                continue
            return own_keys(body, prefix, written, self.clock())
        raise contended(function_id)

    async def _refuse_active(self, function_id: str) -> None:
        token = ""
        active: list[str] = []
        while True:
            # All jobs: those that others create with functionRef may have no label.
            query = {"limit": PAGE} | ({"continue": token} if token else {})
            page = await list_page(self.kube, self.kube.jobs, query)
            own = (job for job in page["items"] if function_of(job) == function_id)
            active += [request_id_of(job) for job in own if not finished(job)]
            token = page["metadata"].get("continue") or ""
            if not token:
                break
        if active:
            message = (
                f"{function_id} has {counted(len(active), 'run')} without an end, for example "
            )
            message += f"{active[0]}. Wait for the end, or cancel with DELETE /runs/ID."
            raise ApiError(409, Reason.FUNCTION_IN_USE, message, found={"active": active[:20]})
