"""Pictures that the code of a session displays, saved as files."""

import base64
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Final

from nanogrid.cli.app.output import note

# In the order of preference, with the ending of the file.
KINDS: Final = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/gif": ".gif",
    "image/svg+xml": ".svg",
}
TEXT: Final = frozenset({"image/svg+xml"})


def has_picture(data: Mapping[str, str]) -> bool:
    """Whether a displayed object is a picture."""
    return any(kind in data for kind in KINDS)


def show(data: Mapping[str, str], folder: Path | None, stem: str) -> None:
    """Save a picture and name its file on stderr; without a folder only describe it."""
    kind = next(kind for kind in KINDS if kind in data)
    try:
        content = data[kind].encode() if kind in TEXT else _decoded(data[kind])
    except ValueError as error:  # code may display any text as a picture
        note(f"[{kind} that is not valid: {error}]")
        return
    if folder is None:
        note(f"[{kind} of {len(content)} bytes; --pictures DIR saves it]")
        return
    note(f"[{kind}: {_save(content, folder, stem, KINDS[kind])}]")


def _decoded(text: str) -> bytes:
    """Base64 may have line ends."""
    return base64.b64decode("".join(text.split()), validate=True)


def _save(content: bytes, folder: Path, stem: str, ending: str) -> Path:
    """Write a new file; an existing file is kept, and the name gets a number."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in count(1):
        path = folder / f"{stem}{'' if number == 1 else f'-{number}'}{ending}"
        try:
            with path.open("xb") as file:
                file.write(content)
        except FileExistsError:
            continue
        return path
    raise AssertionError("count is endless")
