"""What a sync will write: from S3 listings to paths, checked before anything is written. Pure."""

import posixpath
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from nanogrid import names
from nanogrid.reasons import Reason
from nanogrid.wire import Input, S3Source
from nanogrid_executor.s3 import Object

MAX_NAME_BYTES: Final = 255
MAX_PATH_BYTES: Final = 4000


class SyncError(Exception):
    """The sync cannot be completed; ``reason`` is why."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Planned:
    """One file to be: where it goes, where it comes from, and what it must be like."""

    path: str
    bucket: str
    object: Object
    sha256: str | None = None

    @property
    def source(self) -> str:
        """``s3://bucket/key``."""
        return f"s3://{self.bucket}/{self.object.key}"


def refuse_unsafe_source(source: S3Source) -> None:
    """Refuse keys that no file can stand for, before S3 is asked: its client would bend them.

    Raises:
        SyncError: the key or prefix begins with a slash, or has an empty, '.' or '..' part.
    """
    name = source.key if source.key is not None else (source.prefix or "").rstrip("/")
    if not name:
        return  # the whole bucket
    uri = f"s3://{source.bucket}/{ascii(name)[1:-1]}"
    if name.startswith("/"):
        raise SyncError(Reason.UNSAFE_PATH, f"{uri} begins with a slash")
    if name.endswith("/"):
        raise SyncError(Reason.UNSAFE_PATH, f"{uri} ends in a slash: give it as prefix")
    if any(part in ("", ".", "..") for part in name.split("/")):
        raise SyncError(Reason.UNSAFE_PATH, f"{uri} has an empty, '.' or '..' part")
    if not name.isprintable():
        raise SyncError(Reason.UNSAFE_PATH, f"{uri} has control characters")


def plan_input(item: Input, objects: list[Object]) -> list[Planned]:
    """The files of one input.

    Args:
        item: the input.
        objects: what S3 lists for it, directory markers left out.

    Raises:
        SyncError: there are too few files, too many bytes, or a path that is unsafe.
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
    """Raise a ``SyncError`` when an input that must be there has fewer files than it should."""
    if item.required and count < item.min_files:
        raise SyncError(
            Reason.INPUT_NOT_FOUND,
            f"input {item.name!r}: {item.s3.uri()} gives {count} files, "
            f"at least {item.min_files} expected",
        )


def mount_of(item: Input) -> str:
    """The input's directory, as an absolute path in the pod.

    Raises:
        SyncError: it is not the workspace nor below it.
    """
    mount = posixpath.normpath(item.mount_path)
    if not (mount == names.WORKSPACE or mount.startswith(f"{names.WORKSPACE}/")):
        raise SyncError(Reason.UNSAFE_PATH, f"mountPath {mount} is not below {names.WORKSPACE}")
    return mount


def _path(item: Input, key: str) -> str:
    """The absolute path of an object's file: the key below the prefix, below the mount path."""
    if item.s3.key is not None:
        relative = posixpath.basename(key)
    else:
        prefix = (item.s3.prefix or "").rstrip("/")
        relative = key[len(prefix) + 1 :] if prefix else key
    path = f"{mount_of(item)}/{relative}"
    for part in relative.split("/"):
        if part in ("", ".", "..") or "\\" in part or not part.isprintable():
            raise SyncError(Reason.UNSAFE_PATH, f"s3://{item.s3.bucket}/{ascii(key)[1:-1]}")
        if len(part.encode()) > MAX_NAME_BYTES:
            raise SyncError(Reason.UNSAFE_PATH, f"{key[:60]}...: a name of over 255 bytes")
    if len(path.encode()) > MAX_PATH_BYTES:
        raise SyncError(Reason.UNSAFE_PATH, f"{path[:60]}...: a path of over 4,000 bytes")
    return path


def refuse_conflicts(files: Iterable[tuple[str, str]]) -> None:
    """No path may come from two sources, nor be a file here and a folder there.

    Args:
        files: (absolute path, source) of every file, the code's own among them.
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
