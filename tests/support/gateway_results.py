"""Results of jobs in the small API server, and the end of a job."""

from typing import Any

from nanogrid import names, wire
from nanogrid.job_function import function_of
from nanogrid.types import Json
from nanogrid_operator.status.job import for_status
from support.builders import merge_patch
from support.gateway_cluster import Cluster, key_of


def result_of(job: Json, **changes: Any) -> wire.Result:
    """A result as the pod's agent reports it."""
    meta, spec = job["metadata"], job["spec"]
    values: Json = {
        "request_id": spec["requestId"],
        "function_id": function_of(job) or "",
        "status": wire.STATUS_SUCCESS,
        "exit_code": 0,
        "stdout": "합계\n",
        "stderr": "",
        "duration_millis": 312,
        "peak_memory_bytes": 9 << 20,
        "peak_memory_mb": 9,
        "optimization_tip": "limit 256 MB, used 9 MB",
        "output_files": [],
        "reason": "Completed",
        "job": wire.JobRef(namespace=meta["namespace"], name=meta["name"], uid=meta["uid"]),
    }
    return wire.Result(**(values | changes))


def finish(cluster: Cluster, job: Json, result: wire.Result) -> None:
    """The terminal status, as the operator writes it."""
    ok = result.status == wire.STATUS_SUCCESS
    status = {
        "phase": "Succeeded" if ok else "Failed",
        "reason": result.reason,
        "requestId": result.request_id,
        "result": for_status(result),
    }
    with cluster.changed:
        meta = job["metadata"]
        current = cluster.objects[names.PLURAL, key_of(meta["namespace"], meta["name"])]
        cluster.write(names.PLURAL, merge_patch(current, {"status": status}))
