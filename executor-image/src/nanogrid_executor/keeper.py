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
RESULT_WRITERS: Final = 3  # this agent, an earlier attempt's and the operator
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


def put_result(bucket: str, result: wire.Result) -> bool:
    """Store the result's JSON, unless S3 has a word on this attempt, or on a later one, already.

    An agent may come so late, from a node that was frozen, that its attempt has been decided.

    Returns:
        Whether nothing is left to be done; False when the operator has to store it. Why is logged.
    """
    if not bucket:
        return True
    from nanogrid_executor.clock import DeadlineError
    from nanogrid_executor.s3 import Storage
    from nanogrid_executor.s3_errors import StorageError

    key = names.result_object(result.request_id)
    storage = Storage(Deadline(RESULT_SECONDS), RESULT_DELAYS)
    try:
        return _put_unless_decided(storage, bucket, key, result)
    except (StorageError, DeadlineError) as error:
        log("result-not-stored", key=key, message=error)
        return False


def _put_unless_decided(storage: "Storage", bucket: str, key: str, result: wire.Result) -> bool:
    body = wire.dumps(result).encode()
    etag = None
    for _ in range(RESULT_WRITERS):
        if storage.put_if(bucket, key, body, "application/json", etag):
            return True
        text, etag = storage.get_bytes(bucket, key, wire.REPORT_CAP_BYTES)
        try:
            there = wire.loads(wire.Result, text)
        except ValueError as error:
            log("result-replaced", key=key, why=f"it is no result: {error}")
            continue
        if there.job.uid != result.job.uid:
            log("result-not-stored", key=key, message=f"it is of job uid {there.job.uid}")
            return False
        if there.attempt >= result.attempt:
            log("result-kept", key=key, attempt=there.attempt, reason=there.reason)
            return True
    log("result-not-stored", key=key, message="others write it all the time")
    return False


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
