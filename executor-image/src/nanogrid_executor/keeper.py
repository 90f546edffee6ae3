"""Puts into S3 what an execution leaves: output files, full streams, the result.

Nothing here raises: by the time it is called there is an exit code and a stdout, which must reach
their reader whatever S3 does. What could not be stored is said in what is returned, or logged.
Imports are late, because the agent must listen before it has time for them.
"""

import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from nanogrid import names, wire
from nanogrid_executor.clock import Deadline
from nanogrid_executor.execution import Execution
from nanogrid_executor.log import log
from nanogrid_executor.recording import Recording
from nanogrid_executor.result import Stored

if TYPE_CHECKING:
    from nanogrid_executor.s3 import Storage

RESULT_DELAYS: Final = (0.5,)  # S3 is one of three ways: it must not hold up the other two
RESULT_SECONDS: Final = 3.0
SETTLE_SECONDS: Final = 40.0  # a request that hangs ends after 30


def store(
    task: wire.Task,
    workspace: str,
    execution: Execution,
    streams: dict[str, Recording],
    deadline: Deadline,
) -> Stored:
    """Store outputs and full streams until the deadline."""
    stored, storage = store_outputs(task, workspace, deadline, succeeded=execution.succeeded)
    if storage is None:
        return stored
    for name, recording in streams.items():
        stored = _store_stream(task, name, recording, storage, stored)
    return stored


def store_outputs(
    task: wire.Task, workspace: str, deadline: Deadline, *, succeeded: bool
) -> tuple[Stored, "Storage | None"]:
    """Store outputs until the deadline; the client that did so, unless it could not."""
    try:
        from nanogrid_executor import outputs
        from nanogrid_executor.s3 import Storage

        storage = Storage(deadline)
        return outputs.store(task.outputs, workspace, storage, succeeded=succeeded), storage
    except Exception as error:  # the boundary: see above
        traceback.print_exc(file=sys.stdout)
        return Stored(failed=[f"{type(error).__name__}: {error}"]), None


def _store_stream(
    task: wire.Task, name: str, recording: Recording, storage: "Storage", stored: Stored
) -> Stored:
    key = names.stream_object(task.request_id, name)
    try:
        url = recording.store(storage, task.bucket, key)
    except Exception as error:  # the boundary: see above
        log("stream-not-stored", key=key, error=error)
        lost = [*stored.lost_streams, f"{name}: {error}"]
        return replace(stored, lost_streams=lost)
    if url is None:
        return stored
    log("stream-stored", key=key, bytes=recording.recorded, of=recording.count)
    return replace(stored, stream_urls={**stored.stream_urls, name: url})


def put_result(bucket: str, result: wire.Result) -> None:
    """Store the result's JSON; a failure is logged, for there are other ways to the operator."""
    if not bucket:
        return
    from nanogrid_executor.clock import DeadlineError
    from nanogrid_executor.s3 import Storage
    from nanogrid_executor.s3_errors import StorageError

    key = names.result_object(result.request_id)
    body = wire.dumps(result).encode()
    storage = Storage(Deadline(RESULT_SECONDS), RESULT_DELAYS)
    try:
        storage.put_bytes(bucket, key, body, "application/json")
    except (StorageError, DeadlineError) as error:
        log("result-not-stored", key=key, message=error)


def settle(stop: Callable[[], bool]) -> None:
    """Wait for an upload that is past its deadline: ended half way, its parts would stay in S3.

    Called when the result has reached its readers; ``stop`` says that the pod has to go.
    """
    from nanogrid_executor import outputs, pool

    if not pool.settle(outputs.IN_PARTS, SETTLE_SECONDS, stop):
        log("upload-not-aborted", why="the pod is stopped" if stop() else "a request hangs")


def import_late_modules(with_storage: bool) -> None:
    """Import what is needed later while the user's code runs, when it costs nothing."""
    import http.client

    from nanogrid_executor import outputs

    if with_storage:
        import obstore.store

        del obstore
    del http, outputs
