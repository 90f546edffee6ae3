"""Downloaded content as a local file, which appears when it is complete."""

from collections.abc import Iterable
from pathlib import Path

from nanogrid.client.storage import Corrupt


def inside(folder: Path, name: str) -> Path:
    """The path of a name below a folder.

    Raises:
        Corrupt: the path is not below the folder.
    """
    top = folder.resolve()
    path = (top / name).resolve()
    if not path.is_relative_to(top):
        raise Corrupt(f"{name!r} would be written outside {top}.")
    return path


def store(target: Path, chunks: Iterable[bytes]) -> Path:
    """Write chunks to a file; a failure leaves nothing and keeps an older file.

    Raises:
        OSError: the file cannot be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".part")
    try:
        with partial.open("wb") as file:
            for chunk in chunks:
                file.write(chunk)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target
