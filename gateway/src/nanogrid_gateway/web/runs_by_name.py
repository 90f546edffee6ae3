"""Finds runs also by job name, so that jobs that the gateway did not create have a page."""

import uuid

from nanogrid import names
from nanogrid.kube.conventions import KubeError
from nanogrid.lifecycle import finished
from nanogrid.logs import fields_of_job, note
from nanogrid.reasons import Reason
from nanogrid.types import Json
from nanogrid_gateway.api.errors import ApiError
from nanogrid_gateway.api.gateway import Gateway
from nanogrid_gateway.api.runs.jobs import again
from nanogrid_gateway.api.runs.runs import Runs, refused
from nanogrid_gateway.api.runs.stored_results import Results
from nanogrid_gateway.kube.client import Kube
from nanogrid_gateway.tracing import current_trace


class RunsByName(Runs):
    """In every method ``request_id`` may also be a job's name."""

    def __init__(
        self, gateway: Gateway, kube: Kube | None = None, results: Results | None = None
    ) -> None:
        """The runs of the gateway's namespace, or of another one.

        Args:
            gateway: the parts.
            kube: the client in another namespace.
            results: where results of that namespace are read.
        """
        super().__init__(
            kube or gateway.kube,
            gateway.objects,
            gateway.feed,
            gateway.functions,
            gateway.settings,
            gateway.metrics,
            results,
        )

    async def job_and_result(self, name: str) -> tuple[Json | None, Json | None]:
        """The job, unless it was deleted, and the result, if the run has ended.

        Raises:
            ApiError: 404, 503.
        """
        try:
            job = await self.job(name)
        except ApiError as e:
            if e.status != 404:
                raise
            return None, (await self.look(name)).body
        return job, await self.result(job) if finished(job) else None

    async def again(self, name: str) -> str:
        """Create a job with the same spec and a new requestId; returns its name.

        Raises:
            ApiError: 404, 409 the run has not ended or is a session, 422, 503.
        """
        job = await self.job(name)
        if not finished(job) or job["spec"].get("mode") == names.MODE_SESSION:
            message = "Only a run that has ended can run again. A session cannot."
            raise ApiError(409, Reason.BAD_REQUEST, message)
        body = again(job, str(uuid.uuid4()), current_trace())
        try:
            created = await self.kube.create(self.kube.jobs, body)
        except KubeError as e:
            raise refused(e) from e
        return str(created["metadata"]["name"])

    async def _job(self, request_id: str) -> Json | None:
        named = await self._named(request_id)
        if named is None:
            return await super()._job(request_id)
        note(fields_of_job(named))
        return named
