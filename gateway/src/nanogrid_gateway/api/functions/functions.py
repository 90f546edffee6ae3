"""Functions: they are read, listed and deleted here; :mod:`.upload` creates and extends them."""

import logging
from dataclasses import dataclass
from typing import Final

from nanogrid import names
from nanogrid.api.function import Function
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


@dataclass(frozen=True, slots=True)
class Functions:
    """All functions of the gateway's namespace."""

    kube: Kube
    objects: AsyncObjects

    async def get(self, function_id: str) -> Function:
        """A function.

        Raises:
            ApiError: 404.
        """
        return model_of(await self.body(function_id))

    async def exists(self, function_id: str) -> bool:
        """Whether there is a function with this name that is not being deleted."""
        try:
            await self.body(function_id)
        except ApiError as e:
            if e.status != 404:
                raise
            return False
        return True

    async def body(self, function_id: str) -> Json:
        """A function as Kubernetes has it.

        Raises:
            ApiError: 404, 503.
        """
        try:
            body = await self.kube.get(self.kube.functions, function_id)
        except KubeError as e:
            raise cluster_unavailable(str(e)) from e
        if body is None or body["metadata"].get("deletionTimestamp"):
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
            ApiError: 404, or 409 while runs of it have not ended.
        """
        body = await self.body(function_id)
        await self._refuse_active(function_id)
        # Listed first: once the function is gone, an upload of its name may store new code.
        keys = await self.objects.keys(self.objects.key(names.function_prefix(function_id)))
        try:
            await self.kube.delete(self.kube.functions, function_id, body["metadata"]["uid"])
        except KubeError as e:
            raise cluster_unavailable(str(e)) from e
        # A run may have started since; its code must stay until it ends.
        try:
            await self._refuse_active(function_id)
        except ApiError as e:
            log.warning("functions/%s is deleted, its code is kept: %s", function_id, e)
            return {"functionId": function_id, "deletedObjects": 0}
        await self.objects.delete(keys)
        return {"functionId": function_id, "deletedObjects": len(keys)}

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
