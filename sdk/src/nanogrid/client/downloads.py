"""Downloaded content as a local file, which appears when it is complete."""

import secrets
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
        hint = "Rename it in the code that writes it."
        raise Corrupt(f"{name!r} would be written outside {top}.", hint)
    return path


def store(target: Path, chunks: Iterable[bytes]) -> Path:
    """Write chunks to a file; a failure leaves nothing and keeps an older file.

    Raises:
        OSError: the file cannot be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    # A name of its own: no other file of the user is replaced, and a long name fits too.
    partial = target.with_name(f".nanogrid-{secrets.token_hex(8)}.part")
    try:
        with partial.open("xb") as file:
            for chunk in chunks:
                file.write(chunk)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target
