"""Routes about files: list, send, fetch and remove them, and copy some from S3."""

from collections.abc import Iterator
from typing import IO, Any, Final

from flask import Flask, Response, request

from nanogrid import names
from nanogrid_executor.clock import Deadline
from nanogrid_executor.outputs import content_type
from nanogrid_executor.s3 import Storage
from nanogrid_executor.session import uploads
from nanogrid_executor.session.core import Session
from nanogrid_executor.session.errors import bad_request, ending
from nanogrid_executor.session.filesync import FileSync, Wanted, allow
from nanogrid_executor.session.requests import FILE_SYNC_SCHEMA, NO_STORE, answered, body, route
from nanogrid_executor.session.workspace import file_path, relative

CHUNK_BYTES: Final = 256 * 1024


def add_routes(app: Flask, session: Session) -> None:
    """Add this module's routes."""
    routes = _Routes(session)
    route(app, "GET", "/debug/files", routes.listing)
    route(app, "GET", "/files", routes.listing)
    route(app, "PUT", "/files/<path:path>", routes.put)
    route(app, "GET", "/files/<path:path>", routes.get)
    route(app, "DELETE", "/files/<path:path>", routes.delete)
    route(app, "POST", "/file-sync", routes.file_sync)


class _Routes:
    def __init__(self, session: Session) -> None:
        self.session = session

    def listing(self) -> Response:
        path = relative(request.args.get("path", ""))
        found = self.session.workspace.listing(path)
        shown = f"{names.WORKSPACE}/{path}".rstrip("/")
        return answered(
            {
                "path": shown,
                "files": found.files,
                "count": len(found.files),
                "truncated": found.truncated,
            }
        )

    def put(self, path: str) -> Response:
        request.max_content_length = 2 * uploads.MAX_BYTES  # it has a limit of its own
        length = request.content_length
        uploads.refuse_length(length)
        stream = request.stream
        try:
            done = uploads.receive(
                self.session.task, self.session.workspace, file_path(path), stream.read, length
            )
        except (ConnectionError, TimeoutError) as error:
            raise bad_request(f"The body ended early: {error}. Send it again.") from error
        return answered(done, 201)

    def get(self, path: str) -> Response:
        wanted = file_path(path)
        file, size = self.session.workspace.open(wanted)
        head = {"Content-Length": str(size), "X-Content-Type-Options": "nosniff", **NO_STORE}
        response = Response(_chunks(file, size), mimetype=content_type(wanted), headers=head)
        response.call_on_close(file.close)
        return response

    def delete(self, path: str) -> Response:
        wanted = file_path(path)
        self.session.workspace.remove(wanted)
        return answered({"path": wanted, "deleted": True})

    def file_sync(self) -> Response:
        session = self.session
        session.refuse_early_and_late()
        asked, _ = body(FILE_SYNC_SCHEMA)
        session.check_id(asked.get("session_id"))
        local = asked.get("local_path", names.DEFAULT_DATA_PATH)
        wanted = allow(session.task, asked["bucket_name"], asked["s3_key_prefix"], local)
        with session.waiting():
            return answered(self._in_turn(wanted))

    def _in_turn(self, wanted: Wanted) -> dict[str, Any]:
        executions = self.session.executions
        ticket = executions.take_turn()
        try:
            if not ticket.wait():
                assert executions.ending is not None  # noqa: S101 else nobody cancels it
                raise ending(executions.ending)
            deadline = Deadline(self.session.task.input_sync_timeout_seconds)
            return FileSync(self.session.workspace, Storage(deadline), wanted).run()
        finally:
            executions.turns.leave(ticket)


def _chunks(file: IO[bytes], size: int) -> Iterator[bytes]:
    """As much of the file as was announced: it may grow while it is read."""
    left = size
    while left and (chunk := file.read(min(CHUNK_BYTES, left))):
        left -= len(chunk)
        yield chunk
