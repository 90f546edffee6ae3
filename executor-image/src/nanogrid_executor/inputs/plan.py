"""From S3 listings to the files that a sync writes; all are checked before any is written. Pure."""

import posixpath
from collections.abc import Iterable
from typing import Final, NamedTuple

from nanogrid import names
from nanogrid.file_names import character_fault
from nanogrid.reasons import Reason
from nanogrid.tenant_keys import spelling_fault
from nanogrid.wire import Input, S3Source
from nanogrid_executor.storage.s3 import Object

MAX_NAME_BYTES: Final = 255
MAX_PATH_BYTES: Final = 4000
SHOWN_CHARS: Final = 300


class SyncError(Exception):
    """The sync fails; ``reason`` is why."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Planned(NamedTuple):
    """A file to write: its path, its object in S3, and its expected hash."""

    path: str
    bucket: str
    object: Object
    sha256: str | None = None

    @property
    def source(self) -> str:
        """``s3://bucket/key``."""
        return f"s3://{self.bucket}/{self.object.key}"


def refuse_unsafe_source(source: S3Source) -> None:
    """Refuse keys that S3 or its client may change, before S3 is asked.

    The operator checks the sources of a job; the callers of a session name further ones.

    Raises:
        SyncError: the spelling of the key or prefix is refused.
    """
    folder = source.key is None
    name = (source.prefix if folder else source.key) or ""
    if not name.strip("/"):
        return  # the whole bucket
    if fault := spelling_fault(name, folder=folder):
        uri = f"s3://{source.bucket}/{_shown(name)}"
        raise SyncError(Reason.UNSAFE_PATH, f"{uri} {fault}")


def _shown(name: str) -> str:
    # Late: its patterns take 5 ms, and only messages of failures need them.
    from nanogrid.visible_text import printable

    return printable(name)


def plan_input(item: Input, objects: list[Object]) -> list[Planned]:
    """The files of one input.

    Args:
        item: the input.
        objects: the listing of S3 without directory markers.

    Raises:
        SyncError: too few files, too many bytes, or an unsafe path.
    """
    refuse_too_few(item, len(objects))
    total = sum(found.size for found in objects)
    if item.max_bytes is not None and total > item.max_bytes:
        raise SyncError(
            Reason.INPUT_TOO_LARGE,
            f"input {item.name!r}: {item.s3.uri()} has {total} bytes, "
            f"at most {item.max_bytes} allowed",
        )
    return [
        Planned(_path(item, found.key), item.s3.bucket, found, item.s3.sha256) for found in objects
    ]


def refuse_too_few(item: Input, count: int) -> None:
    """Refuse a required input that has too few files.

    Raises:
        SyncError: it has.
    """
    if item.required and count < item.min_files:
        message = (
            f"input {item.name!r}: {item.s3.uri()} gives {count} files, "
            f"at least {item.min_files} expected{_folder_hint(item.s3)}"
        )
        raise SyncError(Reason.INPUT_NOT_FOUND, message)


def _folder_hint(source: S3Source) -> str:
    """A prefix is the beginning of a key for S3, and a folder here."""
    if source.prefix is None or source.prefix.endswith("/") or not source.prefix:
        return ""
    name = _shown(source.prefix.rpartition("/")[2])
    return f" (a prefix is a folder: it contains {name}/x, and not {name}x)"


def mount_of(item: Input) -> str:
    """The directory of an input, as an absolute path in the pod.

    Raises:
        SyncError: it is neither the workspace nor below it.
    """
    mount = posixpath.normpath(item.mount_path)
    if not (mount == names.WORKSPACE or mount.startswith(f"{names.WORKSPACE}/")):
        raise SyncError(Reason.UNSAFE_PATH, f"mountPath {mount} is not below {names.WORKSPACE}")
    return mount


def _path(item: Input, key: str) -> str:
    """The absolute path of an object's file: the key without the prefix, below the mount path."""
    if item.s3.key is not None:
        relative = posixpath.basename(key)
    else:
        prefix = (item.s3.prefix or "").rstrip("/")
        relative = key[len(prefix) + 1 :] if prefix else key
    if fault := _path_fault(relative):
        uri = f"s3://{item.s3.bucket}/{_shown(key)}"
        raise SyncError(Reason.UNSAFE_PATH, f"{uri[:SHOWN_CHARS]} {fault}")
    path = f"{mount_of(item)}/{relative}"
    refuse_long_paths([path])
    return path


def _path_fault(path: str) -> str:
    """Why a relative path is refused; empty if it is not."""
    if fault := character_fault(path):
        return fault
    if "\\" in path:
        return "has a backslash"
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts):
        return "has an empty, '.' or '..' part"
    if any(len(part.encode()) > MAX_NAME_BYTES for part in parts):
        return f"has a name of over {MAX_NAME_BYTES} bytes"
    return ""


def refuse_long_paths(paths: Iterable[str]) -> None:
    """Refuse absolute paths that Linux would not take.

    Raises:
        SyncError: one is too long.
    """
    for path in paths:
        if len(path.encode()) > MAX_PATH_BYTES:
            message = f"{_shown(path[:60])}...: a path of over 4,000 bytes"
            raise SyncError(Reason.UNSAFE_PATH, message)


def refuse_conflicts(files: Iterable[tuple[str, str]]) -> None:
    """Refuse a path of two sources, and a path that is a file of one and a folder of another.

    Args:
        files: (absolute path, source) of every file, those of the code included.

    Raises:
        SyncError: there is one.
    """
    sources: dict[str, str] = {}
    for path, source in files:
        if path in sources:
            raise SyncError(
                Reason.PATH_CONFLICT, f"{path} comes from {sources[path]} and from {source}"
            )
        sources[path] = source
    for path, source in sources.items():
        parent = posixpath.dirname(path)
        while len(parent) > 1:
            if parent in sources:
                raise SyncError(
                    Reason.PATH_CONFLICT,
                    f"{parent} is a file of {sources[parent]} and a folder of {source}",
                )
            parent = posixpath.dirname(parent)
