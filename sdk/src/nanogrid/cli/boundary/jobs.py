"""The jobs of ``doctor --tenant``: created under random names, deleted at the end in any case."""

import secrets
from types import TracebackType
from typing import TYPE_CHECKING, Final

from nanogrid import names
from nanogrid.cli.app.output import note
from nanogrid.types import Json

if TYPE_CHECKING:
    from nanogrid.client import Client, Run

PREFIX: Final = "doctor"
# For jobs that could not be deleted, because the network or this process ended first.
TTL_SECONDS: Final = 300
COMMON: Final[Json] = {
    "ttlSecondsAfterFinished": TTL_SECONDS,
    "timeouts": {"startupSeconds": 100, "executionSeconds": 20, "uploadSeconds": 30},
    "resources": {
        "limits": {"cpu": "500m", "memory": "128Mi"},
        "requests": {"cpu": "50m", "memory": "64Mi"},
    },
}


class TemporaryJobs:
    """Creates jobs in a namespace; the end of the context deletes them, also after Ctrl-C."""

    def __init__(self, client: "Client", namespace: str) -> None:
        self._client = client
        self._namespace = namespace
        self._stem = f"{PREFIX}-{secrets.token_hex(4)}"
        self._uids: dict[str, str | None] = {}

    def __enter__(self) -> "TemporaryJobs":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for name in list(self._uids):
            self._delete(name)

    def now(self) -> float:
        """The client's clock, in seconds."""
        return self._client.cluster.timing.now()

    def create(self, suffix: str, spec: Json) -> "Run":
        """Create a job.

        Args:
            suffix: of its name; empty for the job that runs.
            spec: what is different from other jobs of this command.

        Raises:
            ApiError: the API server refuses it.
        """
        from nanogrid.client import Run, errors
        from nanogrid.client.jobs.manifest import stamped
        from nanogrid.client.jobs.submit import submit

        name = f"{self._stem}-{suffix}" if suffix else self._stem
        manifest = {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "metadata": {"name": name, "namespace": self._namespace},
            "spec": COMMON | spec,
        }
        self._uids[name] = None  # a lost answer may hide a success
        try:
            job = submit(self._client.cluster, stamped(manifest))
        except (errors.Conflict, errors.Forbidden, errors.Invalid, errors.NotFound):
            del self._uids[name]
            raise
        self._uids[name] = job["metadata"]["uid"]
        return Run(self._client.cluster, job, lambda: self._client.storage)

    def _delete(self, name: str) -> None:
        from nanogrid.client import errors
        from nanogrid.client.kube.paths import jobs

        try:
            self._client.cluster.delete(jobs(self._namespace), name, self._uids[name])
        except errors.NotFound:
            return
        except errors.ApiError as error:
            command = f"kubectl -n {self._namespace} delete ej {name}"
            note(f"job {name} could not be deleted: {error.message} Delete it: {command}")
