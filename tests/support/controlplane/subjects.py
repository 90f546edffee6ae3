"""What is compared: bare pods, batch/v1 Jobs and ExecutionJobs. Pure.

A bare pod and a Job have one container and no volume, as users write them; an ExecutionJob gets
what the product gives it, two containers and volumes.
"""

from dataclasses import dataclass
from typing import Final

from nanogrid import names
from nanogrid.types import Json
from support.controlplane.servers import DEFAULT_BURST, DEFAULT_QPS, QPS

IMAGE: Final = "registry.example/executor:1"
CODE: Final = "print(6 * 7)"


@dataclass(frozen=True, slots=True)
class Subject:
    """One kind of work.

    ``name`` is that of `make bench`. ``fields`` selects objects that may have ended; one has, if
    its event contains ``mark``. ``job_limits`` are the requests per second, and at once, of the
    controller of Jobs.
    """

    name: str
    title: str
    api: str
    plural: str
    fields: str
    mark: bytes = b""
    job_limits: tuple[int, int] | None = None

    def path(self, namespace: str) -> str:
        """The collection in a namespace."""
        return f"{self.api}/namespaces/{namespace}/{self.plural}"

    def manifest(self, name: str) -> Json:
        """The object to create."""
        if self.plural == names.PLURAL:
            return {
                "apiVersion": f"{names.GROUP}/{names.VERSION}",
                "kind": "ExecutionJob",
                "metadata": {"name": name},
                "spec": {"code": {"inline": CODE}},
            }
        if self.plural == "jobs":
            return {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "metadata": {"name": name},
                "spec": {"backoffLimit": 0, "template": {"spec": _pod_spec()}},
            }
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name},
            "spec": _pod_spec(),
        }


def _pod_spec() -> Json:
    limits = {"cpu": "1", "memory": "256Mi"}
    requests = {"cpu": "100m", "memory": "256Mi"}
    container = {
        "name": "main",
        "image": IMAGE,
        "command": ["python3", "-c", CODE],
        "resources": {"limits": limits, "requests": requests},
    }
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
    }


ENDED: Final = "status.phase=Succeeded"
COMPLETE: Final = b'"type":"Complete"'
BATCH: Final = "/apis/batch/v1"
PODS: Final = Subject("pod", "bare pods", "/api/v1", "pods", ENDED)
JOBS_DEFAULT: Final = Subject(
    "batch", "batch/v1 Jobs, default limits", BATCH, "jobs", "status.successful=1", COMPLETE,
    (DEFAULT_QPS, DEFAULT_BURST),
)  # fmt: skip
JOBS_EQUAL: Final = Subject(
    "batch-equal", f"batch/v1 Jobs, {QPS} requests/s", BATCH, "jobs", "status.successful=1",
    COMPLETE, (QPS, QPS),
)  # fmt: skip
OURS: Final = Subject(
    "inline", "ExecutionJobs", f"/apis/{names.GROUP}/{names.VERSION}", names.PLURAL, ENDED
)
ALL: Final = (PODS, JOBS_DEFAULT, JOBS_EQUAL, OURS)
