"""Runs of other namespaces than the gateway's: what the API server knows of them, and their files.

Results come from the job's status. Redis and S3 have more, but the gateway's credentials for them
are for its own namespace.
"""

from dataclasses import dataclass
from typing import Any

from nanogrid import names
from nanogrid.reasons import Reason
from nanogrid.tenancy import Area
from nanogrid.tenant_keys import spelling_fault, within
from nanogrid.types import Json
from nanogrid_gateway.api.errors import ApiError, StorageDenied
from nanogrid_gateway.api.gateway import Gateway
from nanogrid_gateway.api.job_fields import request_id_of, status_of
from nanogrid_gateway.api.runs.outputs import OutputDownload, download_of, location_of, output_of
from nanogrid_gateway.web import snippets
from nanogrid_gateway.web.runs_by_name import RunsByName


class StatusResults:
    """Reads results from the status of jobs only."""

    async def of_job(self, job: Json) -> Json:
        """The result of a finished job, with shortened output if it was long."""
        return dict(status_of(job).get("result") or {})

    async def from_redis(self, request_id: str) -> Json | None:
        """None: not read."""
        return None

    async def without_job(self, request_id: str) -> Json | None:
        """None: not read."""
        return None


@dataclass(frozen=True, slots=True)
class OtherNamespaces:
    """The runs of each other namespace, and their files."""

    gateway: Gateway

    def runs(self, namespace: str) -> RunsByName:
        """The runs of a namespace, read only."""
        kube = self.gateway.kube.within(namespace)
        return RunsByName(self.gateway, kube, StatusResults())

    async def open_output(self, namespace: str, run: str, name: str) -> OutputDownload:
        """Open one output file of a run.

        Raises:
            ApiError: 404: no such run or file, or its place is not one that this page reads; 503.
        """
        job = await self.runs(namespace).job(run)
        found = output_of(status_of(job).get("result") or {}, name)
        settings, job_name = self.gateway.settings, str(job["metadata"]["name"])
        area = Area.of(
            namespace,
            bucket=settings.s3_bucket,
            compatibility_namespace=settings.compatibility_namespace,
            prefix=settings.s3_prefix,
        )
        if not readable(found, area, request_id_of(job)):
            why = f"This page reads files of {namespace} only in the folder of the run's outputs."
            raise _refused(namespace, job_name, why)
        try:
            return await download_of(self.gateway.objects, found)
        except StorageDenied:
            why = f"The gateway's credentials for S3 do not reach the files of {namespace}."
            raise _refused(namespace, job_name, why) from None


def readable(output: dict[str, Any], area: Area, request_id: str) -> bool:
    """Whether the page may read an output file: only in the run's own folder of the default root.

    Whoever can write the status of a job in a namespace must not choose what this page reads. The
    gateway does not know roots and buckets of a NanoGridTenant, so it reads nothing there.

    Args:
        output: as the result names it.
        area: of the namespace, with its default root.
        request_id: of the run.
    """
    bucket, key = location_of(output, area.bucket)
    folder = area.key(names.outputs_prefix(request_id))
    safe = not spelling_fault(key, folder=False) and not spelling_fault(folder, folder=True)
    return bucket == area.bucket and safe and within(key, folder)


def _refused(namespace: str, job: str, why: str) -> ApiError:
    hint = f"Download it with: {snippets.outputs(namespace, job)}"
    return ApiError(404, Reason.OUTPUT_NOT_FOUND, f"{why} {hint}")
