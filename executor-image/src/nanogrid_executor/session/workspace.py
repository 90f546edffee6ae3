"""Reads and writes files of the workspace while the user's code may change it.

Every path is opened part by part with file descriptors, and no symbolic link is followed at any
level. So nothing outside of the workspace is read or written, even if the code creates links. A
new file is written under another name and renamed when it is complete.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Any, Final

from nanogrid import names
from nanogrid.file_names import character_fault
from nanogrid.reasons import Reason
from nanogrid.visible_text import printable
from nanogrid_executor.outputs.walk import MAX_DEPTH, Inner, shown
from nanogrid_executor.session.errors import ApiError

TEMPORARY_PREFIX: Final = ".nanogrid-upload-"
LISTED: Final = 1000
MAX_PATH_BYTES: Final = 4000
# Entries read from one folder: names are sorted, so all are read before the first is listed.
MAX_FOLDER: Final = 100_000

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_CONFLICTS: Final = {
    errno.ELOOP: "is a symbolic link, or its path has one; symbolic links are not followed",
    errno.ENOTDIR: "is below something that is not a folder; symbolic links are not followed",
    errno.EISDIR: "is a folder",
    errno.ENOTEMPTY: "is a folder that is not empty; remove its content first",
    errno.EEXIST: "exists and is not a regular file",
    errno.EACCES: "cannot be accessed: the code removed the permission",
    errno.EPERM: "cannot be changed: the code removed the permission",
}


def relative(path: str) -> str:
    """A client's path, absolute or relative, made relative to the workspace; empty for itself.

    Raises:
        ApiError: 400, it is outside of the workspace, or it is not a valid path.
    """
    if path == names.WORKSPACE or path.startswith(f"{names.WORKSPACE}/"):
        path = path[len(names.WORKSPACE) + 1 :]
    parts = [part for part in path.split("/") if part != "."]
    while parts and parts[-1] == "":
        parts.pop()
    if fault := character_fault(path):
        message = f"The path {printable(path)!r} {fault}. Use another name."
        raise ApiError(400, Reason.UNSAFE_PATH, message)
    if any(part in ("", "..") for part in parts):
        message = (
            f"{printable(path)!r} is not in {names.WORKSPACE}, or contains '..' or '//'. "
            f"Use a path below {names.WORKSPACE}."
        )
        raise ApiError(400, Reason.UNSAFE_PATH, message)
    if len(path.encode(errors="replace")) > MAX_PATH_BYTES:
        message = f"The path has more than {MAX_PATH_BYTES} bytes. Use a shorter one."
        raise ApiError(400, Reason.UNSAFE_PATH, message)
    return "/".join(parts)


def file_path(path: str) -> str:
    """Like :func:`relative`, but the path must not be the workspace itself."""
    found = relative(path)
    if not found:
        message = f"The path of the file is missing. Use one below {names.WORKSPACE}."
        raise ApiError(400, Reason.UNSAFE_PATH, message)
    return found


@contextmanager
def explained(path: str) -> Iterator[None]:
    """Turns errors of the file system into error responses."""
    where = f"{names.WORKSPACE}/{shown(path)}"
    try:
        yield
    except FileNotFoundError as error:
        message = f"{where} does not exist. GET /files lists the files."
        raise ApiError(404, Reason.FILE_NOT_FOUND, message) from error
    except OSError as error:
        if error.errno in _CONFLICTS:
            message = f"{where} {_CONFLICTS[error.errno]}."
            raise ApiError(409, Reason.PATH_CONFLICT, message) from error
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            message = f"{where}: no space is left in the workspace. Remove files first."
            raise ApiError(507, Reason.FILE_TOO_LARGE, message) from error
        if error.errno == errno.ENAMETOOLONG:
            message = f"{where} has a name of more than 255 bytes. Use a shorter one."
            raise ApiError(400, Reason.UNSAFE_PATH, message) from error
        raise


class NewFile:
    """A file that is being written; :meth:`commit` gives it its name."""

    def __init__(self, folder: int, name: str) -> None:
        self._folder = folder
        self._name = name
        self._temporary = TEMPORARY_PREFIX + os.urandom(8).hex()
        descriptor = os.open(self._temporary, _CREATE, 0o644, dir_fd=folder)
        self.file: IO[bytes] = os.fdopen(descriptor, "r+b", buffering=0)
        self._committed = False

    @property
    def reopenable(self) -> str:
        """A path that opens this file, even if user code renames it."""
        return f"/proc/self/fd/{self.file.fileno()}"

    def commit(self) -> None:
        """Give it its name; replaces a file or a link of that name, but not a folder."""
        os.rename(self._temporary, self._name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        self._committed = True

    def close(self) -> None:
        """Remove the file unless it was committed."""
        self.file.close()
        try:
            if not self._committed:
                os.unlink(self._temporary, dir_fd=self._folder)
        except FileNotFoundError:
            pass  # user code removed or moved it
        finally:
            os.close(self._folder)


@dataclass(frozen=True, slots=True)
class Listing:
    """The first entries below a folder, in the order of their paths."""

    path: str
    files: list[dict[str, Any]]
    truncated: bool


class Workspace:
    """One directory tree."""

    def __init__(self, root: str) -> None:
        self.root = root

    @contextmanager
    def create(self, path: str) -> Iterator[NewFile]:
        """A new file at a relative path; creates the folders above it.

        Raises:
            ApiError: 400, 409 or 507.
        """
        folder, name = os.path.split(path)
        with explained(path):
            new = self._new_file(folder, name)
            try:
                yield new
            finally:
                new.close()

    def _new_file(self, folder: str, name: str) -> NewFile:
        descriptor = self._folder(folder, create=True)
        try:
            return NewFile(descriptor, name)
        except OSError:
            os.close(descriptor)
            raise

    def open(self, path: str) -> tuple[IO[bytes], int]:
        """A regular file, and its size in bytes.

        Raises:
            ApiError: 404 or 409.
        """
        with self._parent(path) as (folder, name):
            descriptor = os.open(name, _READ, dir_fd=folder)
            info = os.fstat(descriptor)
            if stat.S_ISREG(info.st_mode):
                return os.fdopen(descriptor, "rb"), info.st_size
            os.close(descriptor)
            if stat.S_ISDIR(info.st_mode):
                raise OSError(errno.EISDIR, "folder")
            raise OSError(errno.EEXIST, "special file")

    def remove(self, path: str) -> None:
        """Remove a file, a link or an empty folder.

        Raises:
            ApiError: 404 or 409.
        """
        with self._parent(path) as (folder, name):
            info = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISDIR(info.st_mode):
                os.rmdir(name, dir_fd=folder)
            else:
                os.unlink(name, dir_fd=folder)

    @contextmanager
    def _parent(self, path: str) -> Iterator[tuple[int, str]]:
        """A descriptor of the folder that contains ``path``, and the last part of ``path``."""
        folder, name = os.path.split(path)
        with explained(path):
            descriptor = self._folder(folder)
            try:
                yield descriptor, name
            finally:
                os.close(descriptor)

    def listing(self, path: str, limit: int = LISTED) -> Listing:
        """The first ``limit`` entries below a folder; unreadable folders are skipped.

        Raises:
            ApiError: 404 or 409.
        """
        with explained(path):
            top = self._folder(path)
        found: list[dict[str, Any]] = []
        try:
            _list(top, f"{path}/" if path else "", 0, limit + 1, found)
        finally:
            os.close(top)
        return Listing(path, found[:limit], len(found) > limit)

    def _folder(self, path: str, *, create: bool = False) -> int:
        current = os.open(self.root, _FOLDER)
        for part in path.split("/") if path else ():
            parent = current
            try:
                if create:
                    _make_folder(parent, part)
                current = os.open(part, _FOLDER, dir_fd=parent)
            finally:
                os.close(parent)
        return current


def _make_folder(parent: int, name: str) -> None:
    with suppress(FileExistsError):  # the open that follows fails if it is not a folder
        os.mkdir(name, 0o755, dir_fd=parent)


def _list(folder: int, prefix: str, depth: int, limit: int, found: list[dict[str, Any]]) -> None:
    with os.scandir(folder) as entries:
        entry_names = sorted(entry.name for _, entry in zip(range(MAX_FOLDER), entries))  # noqa: B905
    for name in entry_names:
        if len(found) >= limit:
            return
        try:
            info = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            continue  # removed in the meantime
        found.append(_entry(prefix + name, info))
        if stat.S_ISDIR(info.st_mode) and depth < MAX_DEPTH:
            try:
                with Inner(folder, name) as inner:
                    _list(inner.fileno, f"{prefix}{name}/", depth + 1, limit, found)
            except OSError as error:
                found[-1]["unreadable"] = error.strerror


def _entry(path: str, info: os.stat_result) -> dict[str, Any]:
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}
    kind = kinds.get(stat.S_IFMT(info.st_mode), "other")
    # Names may be any bytes: those that are not UTF-8 are shown as question marks.
    text = path.encode(errors="surrogateescape").decode(errors="replace")
    return {"path": text, "type": kind, "bytes": info.st_size, "modified": info.st_mtime}
