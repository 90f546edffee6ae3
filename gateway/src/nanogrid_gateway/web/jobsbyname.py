"""The API's runs, found by the job's name too: so jobs of others have a page as well."""

from nanogrid_gateway.api import jobs
from nanogrid_gateway.api.core import Gateway
from nanogrid_gateway.api.errors import ApiError, cluster_away
from nanogrid_gateway.api.runs import Runs
from nanogrid_gateway.router.cluster import KubeError
from nanogrid_gateway.web.rows import Json


class JobsByName(Runs):
    """``request_id`` may be a job's name as well, in every method."""

    def __init__(self, gateway: Gateway) -> None:
        parts = (gateway.kube, gateway.objects, gateway.feed, gateway.functions, gateway.settings)
        super().__init__(*parts)

    def both(self, name: str) -> tuple[Json | None, Json | None]:
        """The job unless it is gone, and the result unless it has not ended.

        Raises:
            ApiError: 404, 503.
        """
        try:
            job = self.job(name)
        except ApiError as e:
            if e.status != 404:
                raise
            return None, self.look(name).body
        return job, self.result(job) if jobs.ended(job) else None

    def _job(self, request_id: str) -> Json | None:
        try:
            return self._kube.get(self._kube.jobs, request_id) or super()._job(request_id)
        except KubeError as e:
            raise cluster_away(str(e)) from e
