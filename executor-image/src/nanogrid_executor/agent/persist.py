"""Stores in S3 what an execution leaves: output files, complete streams, the result.

Nothing here raises. An exit code and a stdout already exist and must reach their reader, even if
S3 fails. The return value or the log names what could not be stored. Imports are late, because the
agent must listen before it has time for them.
"""

import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from nanogrid import json_text, names, result_auth, wire
from nanogrid.record import replace
from nanogrid_executor.agent.execution import Execution
from nanogrid_executor.agent.stream_log import StreamLog
from nanogrid_executor.clock import Deadline
from nanogrid_executor.log import log, warn
from nanogrid_executor.outputs.directory import is_empty
from nanogrid_executor.outputs.stored import Stored
from nanogrid_executor.paths import Paths

if TYPE_CHECKING:
    from nanogrid_executor.storage.s3 import Storage

RESULT_DELAYS: Final = (0.5,)  # S3 is one of three ways and must not delay the other two
RESULT_SECONDS: Final = 3.0
RESULT_WRITERS: Final = 3  # this agent, the agent of an earlier attempt, the operator
SETTLE_SECONDS: Final = 40.0  # a request that hangs ends after 30


def await_storage(stopped: Callable[[], bool]) -> None:
    """Wait until S3 accepts a connection of a new pod, as long as a result may take."""
    from nanogrid_executor.first_connection import await_s3

    await_s3(RESULT_SECONDS, stopped)


def store(
    task: wire.PodTask,
    paths: Paths,
    execution: Execution,
    streams: dict[str, StreamLog],
    deadline: Deadline,
) -> Stored:
    """Store outputs and complete streams until the deadline."""
    stored, storage = store_outputs(task, paths, deadline, succeeded=execution.succeeded)
    if storage is None:
        return stored
    for name, stream in streams.items():
        stored = _store_stream(task, name, stream, storage, stored)
    return stored


def store_outputs(
    task: wire.PodTask, paths: Paths, deadline: Deadline, *, succeeded: bool
) -> tuple[Stored, "Storage | None"]:
    """Store outputs until the deadline; also the client, or None if there is none to use."""
    try:
        from nanogrid_executor.storage.s3 import Storage

        storage = Storage(deadline)
        # Patterns without a match are worth a note, which the walk makes.
        if not task.outputs.include and is_empty(paths.workspace, task.outputs.path):
            return Stored(), storage
        from nanogrid_executor.outputs import upload
        from nanogrid_executor.outputs.shipped import shipped_outputs
        from nanogrid_executor.outputs.walk import walk

        find = partial(walk, shipped=shipped_outputs(task, paths))
        workspace, rules = paths.workspace, task.outputs
        return upload.store(rules, workspace, storage, succeeded=succeeded, find=find), storage
    except Exception as error:  # the boundary: nothing here raises
        import traceback

        traceback.print_exc(file=sys.stdout)
        return Stored(failed=[f"{type(error).__name__}: {error}"]), None


def _store_stream(
    task: wire.PodTask, name: str, stream: StreamLog, storage: "Storage", stored: Stored
) -> Stored:
    key = task.key(names.stream_object(task.request_id, name))
    try:
        url = stream.store(storage, task.bucket, key)
    except Exception as error:  # the boundary: nothing here raises
        warn("stream-not-stored", key=key, error=error)
        lost = [*stored.lost_streams, f"{name}: {error}"]
        return replace(stored, lost_streams=lost)
    if url is None:
        return stored
    log("stream-stored", key=key, bytes=stream.kept, of=stream.count)
    return replace(stored, stream_urls={**stored.stream_urls, name: url})


def put_result(bucket: str, result: wire.Result, secret: str, root: str = "") -> bool:
    """Store the result's JSON, unless S3 already has a result of this or of a later attempt.

    An agent on a node that was frozen may come so late that its attempt has been decided.

    Args:
        bucket: of the namespace; empty if there is none.
        result: what to store.
        secret: the key of the job; with it, only a result that is signed with it stays.
        root: of the namespace in the bucket.

    Returns:
        False when the operator has to store the result; the log says why.
    """
    if not bucket:
        return True
    from nanogrid_executor.clock import DeadlineError
    from nanogrid_executor.storage.errors import StorageError
    from nanogrid_executor.storage.s3 import Storage

    key = root + names.result_object(result.request_id)
    storage = Storage(Deadline(RESULT_SECONDS), RESULT_DELAYS)
    try:
        return _put_unless_decided(storage, bucket, key, result, secret)
    except (StorageError, DeadlineError) as error:
        warn("result-not-stored", key=key, detail=error)
        return False


def _put_unless_decided(
    storage: "Storage", bucket: str, key: str, result: wire.Result, secret: str
) -> bool:
    body = wire.dumps(result).encode()
    etag = None
    for _ in range(RESULT_WRITERS):
        if storage.put_if(bucket, key, body, "application/json", etag):
            return True
        text, etag = storage.get_bytes(bucket, key, wire.REPORT_CAP_BYTES)
        try:
            data = json_text.parse(text)
            previous = wire.from_dict(wire.Result, data)
        except ValueError as error:
            warn("result-replaced", key=key, why=f"it is not a result: {error}")
            continue
        if previous.job.uid != result.job.uid:
            warn("result-not-stored", key=key, detail=f"it is of job uid {previous.job.uid}")
            return False
        if secret and not result_auth.verify(data, secret):
            warn("result-replaced", key=key, why="it is not authentic")
            continue
        if previous.attempt >= result.attempt:
            log("result-kept", key=key, of_attempt=previous.attempt, reason=previous.reason)
            return True
    warn("result-not-stored", key=key, detail="other writers replace it all the time")
    return False


def await_uploads(stop: Callable[[], bool]) -> None:
    """Wait for an upload that is past its deadline; a process that ends leaves its parts in S3.

    Called when the result has reached its readers.

    Args:
        stop: whether the pod is being stopped; this ends the wait.
    """
    from nanogrid_executor.storage import parallel

    if not parallel.join_threads(parallel.IN_PARTS, SETTLE_SECONDS, stop):
        warn("upload-not-aborted", why="the pod is stopped" if stop() else "a request hangs")


def import_late_modules(with_storage: bool) -> None:
    """Import what each job needs later while the user's code runs, when it costs no time.

    It costs CPU time all the same, so what only some jobs need is imported when they need it.
    """
    if with_storage:
        import obstore.store

        from nanogrid_executor.storage import s3

        del obstore, s3
