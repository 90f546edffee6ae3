"""Files of a session's workspace."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlencode

from nanogrid.client.local_files import read_file
from nanogrid.client.sessions.connection import SessionConnection

FILE_SECONDS: Final = 300.0


@dataclass(frozen=True)
class FileInfo:
    """One file or folder; ``path`` is relative to /app, ``type`` is file, directory or link."""

    path: str
    bytes: int
    type: str = "file"


class Files:
    """Files of a session's workspace /app; paths are relative to it.

    All methods raise ApiError when the session refuses the request.
    """

    def __init__(self, connection: SessionConnection) -> None:
        self._connection = connection

    def list(self, path: str = "") -> "list[FileInfo]":
        """Files and folders below a folder, up to 1000 entries.

        Raises:
            NotFound: the folder does not exist.
        """
        found = self._connection.json("GET", f"/files?{urlencode({'path': path})}")
        return [FileInfo(one["path"], one["bytes"], one["type"]) for one in found["files"]]

    def read(self, path: str) -> bytes:
        """The content of a file.

        Raises:
            NotFound: the file does not exist.
        """
        route = _route(path)
        return self._connection.call(
            lambda http: http.send("GET", route, read_seconds=FILE_SECONDS).data
        )

    def write(self, path: str, content: bytes | str | Path) -> FileInfo:
        """Store a file in the workspace and in S3; a Path is a local file."""
        data = read_file(content) if isinstance(content, Path) else content
        data = data.encode() if isinstance(data, str) else data
        stored = self._connection.json("PUT", _route(path), content=data, read_seconds=FILE_SECONDS)
        return FileInfo(str(stored["path"]), int(stored["bytes"]))

    def delete(self, path: str) -> None:
        """Delete a file.

        Raises:
            NotFound: the file does not exist.
        """
        self._connection.json("DELETE", _route(path))


def _route(path: str) -> str:
    return f"/files/{quote(path.removeprefix('/app/').lstrip('/'))}"
