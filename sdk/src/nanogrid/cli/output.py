"""Data on stdout in the format asked for, and nothing else there: table, json, yaml or names."""

import json
import os
import sys
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer


class Format(StrEnum):
    """What -o takes."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"

    @property
    def for_people(self) -> bool:
        """Whether somebody reads it: then stderr may say more."""
        return self in (Format.TABLE, Format.WIDE, Format.NAME)

    @property
    def as_text(self) -> bool:
        """Whether it is a text for people, rather than data or names."""
        return self in (Format.TABLE, Format.WIDE)


Output = Annotated[Format, typer.Option("--output", "-o", help="Format of what goes to stdout.")]


def emit(
    data: Any, form: Format, table: Callable[[], str], names: Callable[[], Sequence[str]] = list
) -> None:
    """Write data.

    Args:
        data: what json and yaml show; JSON data.
        form: the format.
        table: makes the text for people, with its last newline.
        names: makes the names, one a line.
    """
    if form is Format.JSON:
        text = json.dumps(data, ensure_ascii=False, indent=2) + "\n"
    elif form is Format.YAML:
        import yaml

        text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    elif form is Format.NAME:
        text = "".join(f"{name}\n" for name in names())
    else:
        text = table()
    write(text)


def write(text: str) -> None:
    """Write text to stdout at once, whatever the terminal's encoding can show."""
    stream = sys.stdout
    stream.flush()
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(text.encode(encoding, "replace").decode(encoding))
    stream.flush()


def say(text: str) -> None:
    """Write a line for people to stderr."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def streams_are_one() -> bool:
    """Whether stdout and stderr lead to the same place: one terminal, or one file or pipe."""
    try:
        out, err = os.fstat(sys.stdout.fileno()), os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):  # no real file: closed, or kept in memory
        return False
    return os.path.samestat(out, err)


def tell(text: str) -> None:
    """Write text of the code to stderr at once."""
    sys.stderr.write(text)
    sys.stderr.flush()


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows, the first being the heads, as kubectl prints them: aligned, three spaces between."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("   ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows)
    return "".join(f"{line.rstrip()}\n" for line in lines)
