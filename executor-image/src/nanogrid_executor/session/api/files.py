"""Routes of files: list, write, read and remove them, and copy files from S3."""

from collections.abc import Iterator
from typing import IO, Any, Final

from flask import Response, request

from nanogrid import names
from nanogrid_executor.clock import Deadline
from nanogrid_executor.outputs.upload import content_type
from nanogrid_executor.session.api import uploads
from nanogrid_executor.session.api.requests import (
    FILE_SYNC_SCHEMA,
    NO_STORE,
    json_response,
    read_body,
)
from nanogrid_executor.session.errors import bad_request, ending
from nanogrid_executor.session.filesync import FileSync, SyncRequest, check_request
from nanogrid_executor.session.session import Session
from nanogrid_executor.session.workspace import file_path, relative
from nanogrid_executor.storage.s3 import Storage

CHUNK_BYTES: Final = 256 * 1024


class FileRoutes:
    """The views of one session's files."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def listing(self) -> Response:
        """``GET /files`` and ``GET /debug/files``."""
        path = relative(request.args.get("path", ""))
        listing = self.session.workspace.listing(path)
        return json_response(
            {
                "path": f"{names.WORKSPACE}/{path}".rstrip("/"),
                "files": listing.files,
                "count": len(listing.files),
                "truncated": listing.truncated,
            }
        )

    def put(self, path: str) -> Response:
        """``PUT /files/PATH``: write a file, and copy it to S3."""
        request.max_content_length = 2 * uploads.MAX_BYTES  # uploads.receive has its own limit
        length = request.content_length
        uploads.check_length(length)
        stream = request.stream
        try:
            body = uploads.receive(
                self.session.task, self.session.workspace, file_path(path), stream.read, length
            )
        except (ConnectionError, TimeoutError) as error:
            raise bad_request(f"The body ended early: {error}. Send the file again.") from error
        return json_response(body, 201)

    def get(self, path: str) -> Response:
        """``GET /files/PATH``: the file's content."""
        checked = file_path(path)
        file, size = self.session.workspace.open(checked)
        head = {"Content-Length": str(size), "X-Content-Type-Options": "nosniff", **NO_STORE}
        response = Response(_chunks(file, size), mimetype=content_type(checked), headers=head)
        response.call_on_close(file.close)
        return response

    def delete(self, path: str) -> Response:
        """``DELETE /files/PATH``: remove a file, a link or an empty folder."""
        checked = file_path(path)
        self.session.workspace.remove(checked)
        return json_response({"path": checked, "deleted": True})

    def file_sync(self) -> Response:
        """``POST /file-sync``: copy files from S3 while no execution runs."""
        session = self.session
        session.check_accepting()
        body, _ = read_body(FILE_SYNC_SCHEMA)
        session.check_id(body.get("session_id"))
        local = body.get("local_path", names.DEFAULT_DATA_PATH)
        checked = check_request(session.task, body["bucket_name"], body["s3_key_prefix"], local)
        with session.gate:
            return json_response(self._sync_in_turn(checked))

    def _sync_in_turn(self, checked: SyncRequest) -> dict[str, Any]:
        executions = self.session.executions
        entry = executions.enter_queue()
        try:
            if not entry.wait():
                assert executions.ending is not None  # noqa: S101 only then it is cancelled
                raise ending(executions.ending)
            deadline = Deadline(self.session.task.input_sync_timeout_seconds)
            return FileSync(self.session.workspace, Storage(deadline), checked).run()
        finally:
            executions.queue.leave(entry)


def _chunks(file: IO[bytes], size: int) -> Iterator[bytes]:
    """The first ``size`` bytes, as announced; the file may grow while it is read."""
    left = size
    while left and (chunk := file.read(min(CHUNK_BYTES, left))):
        left -= len(chunk)
        yield chunk
