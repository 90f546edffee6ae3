"""Files of a session's workspace."""

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Final
from urllib.parse import quote, urlencode

from urllib3.exceptions import HTTPError

from nanogrid.client import downloads
from nanogrid.client.errors import InvalidRequest, Unreachable
from nanogrid.client.http import Http
from nanogrid.client.local_files import open_file
from nanogrid.client.sessions.connection import SessionConnection
from nanogrid.types import Json

FILE_SECONDS: Final = 300.0
CHUNK_BYTES: Final = 1 << 16


@dataclass(frozen=True)
class FileInfo:
    """One file or folder; ``path`` is relative to /app, ``type`` is file, directory or link."""

    path: str
    bytes: int
    type: str = "file"


Entries = list[FileInfo]


class Files:
    """Files of a session's workspace /app; paths are relative to it.

    All methods raise ApiError when the session refuses the request, and InvalidRequest for a path
    with ``..``.
    """

    def __init__(self, connection: SessionConnection) -> None:
        self._connection = connection

    def list(self, path: str = "") -> Entries:
        """Files and folders below a folder, up to 1000 entries.

        Raises:
            NotFound: the folder does not exist.
        """
        return _entries(self._listing(path))

    def all(self, path: str = "") -> Entries:
        """Files and folders below a folder, all of them.

        Raises:
            NotFound: the folder does not exist.
            Conflict: it is a file.
            InvalidRequest: it has more entries than the session lists.
        """
        found = self._listing(path)
        if found.get("truncated"):
            hint = "Take its folders one by one, or pack it with tar in the session first."
            raise InvalidRequest(f"{path or '/app'} has more than {found['count']} entries.", hint)
        return _entries(found)

    def read(self, path: str) -> bytes:
        """The content of a file.

        Raises:
            NotFound: the file does not exist.
        """
        route = _route(path)
        return self._connection.call(
            lambda http: http.send("GET", route, read_seconds=FILE_SECONDS).data
        )

    def download(self, path: str, target: str | Path) -> Path:
        """Store a file of the workspace as a local file, or below an existing local directory.

        Raises:
            NotFound: the file does not exist.
            Conflict: it is a folder.
            OSError: the local file cannot be written.
        """
        local = Path(target)
        if local.is_dir():
            local = downloads.inside(local, PurePosixPath(path).name)

        def transfer(http: Http) -> Path:
            answer = http.send("GET", _route(path), read_seconds=FILE_SECONDS, preload=False)
            try:
                return downloads.store(local, answer.stream(CHUNK_BYTES))
            except HTTPError as e:
                raise Unreachable(0, type(e).__name__, f"{path}: the transfer broke: {e}.") from e
            finally:
                answer.close()

        return self._connection.call(transfer)

    def write(self, path: str, content: bytes | str | Path) -> FileInfo:
        """Store a file in the workspace and in S3; a Path is a local file."""
        route = _route(path)
        if isinstance(content, Path):
            with open_file(content) as file:
                stored = self._connection.call(lambda http: _put(http, route, file))
        else:
            data = content.encode() if isinstance(content, str) else content
            stored = self._connection.json("PUT", route, content=data, read_seconds=FILE_SECONDS)
        return FileInfo(str(stored["path"]), int(stored["bytes"]))

    def delete(self, path: str) -> None:
        """Delete a file.

        Raises:
            NotFound: the file does not exist.
        """
        self._connection.json("DELETE", _route(path))

    def _listing(self, path: str) -> Json:
        return self._connection.json("GET", f"/files?{urlencode({'path': path})}")


class _Content:
    """A local file from its beginning, with the size that it has now, for http.client."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.size = self._left = file.seek(0, os.SEEK_END)
        file.seek(0)

    def read(self, size: int) -> bytes:
        """The next bytes; not those that another program appends meanwhile.

        Raises:
            OSError: the file became shorter.
        """
        data = self._file.read(min(size, self._left))
        if self._left and not data:
            raise OSError("the local file became shorter while it was read")
        self._left -= len(data)
        return data


def _put(http: Http, route: str, file: IO[bytes]) -> Json:
    """Send a local file in pieces."""
    content = _Content(file)
    headers = {"Content-Length": str(content.size)}
    return http.json("PUT", route, content=content, headers=headers, read_seconds=FILE_SECONDS)


def _entries(listing: Json) -> Entries:
    return [FileInfo(one["path"], one["bytes"], one["type"]) for one in listing["files"]]


def _route(path: str) -> str:
    """The path of a file in the session's API.

    Raises:
        InvalidRequest: ``..`` would lead out of the workspace, to another part of the API.
    """
    if ".." in path.split("/"):
        raise InvalidRequest(f"{path!r} contains '..'.", "Use a path below /app.")
    return f"/files/{quote(path.removeprefix('/app/').lstrip('/'))}"
