"""stdout carries the requested data only: as table, json, yaml or names."""

import json
import os
import sys
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Annotated, Any, Final

import typer


class Format(StrEnum):
    """Values of -o."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"

    @property
    def for_people(self) -> bool:
        """Whether a person reads the output; then notes go to stderr."""
        return self in (Format.TABLE, Format.WIDE, Format.NAME)

    @property
    def as_text(self) -> bool:
        """Whether the output is text for people, not data or names."""
        return self in (Format.TABLE, Format.WIDE)


Output = Annotated[Format, typer.Option("--output", "-o", help="Output format.")]
TABLE: Final = Format.TABLE  # the default of -o


def emit(
    data: Any,
    output_format: Format,
    table: Callable[[], str],
    names: Callable[[], Sequence[str]] = list,
) -> None:
    """Write data to stdout.

    Args:
        data: shown with json and yaml; JSON data.
        output_format: the requested format.
        table: returns the text for people, with a final newline.
        names: returns the names, printed one a line.
    """
    if output_format is Format.JSON:
        text = json.dumps(data, ensure_ascii=False, indent=2) + "\n"
    elif output_format is Format.YAML:
        import yaml

        text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    elif output_format is Format.NAME:
        text = "".join(f"{name}\n" for name in names())
    else:
        text = table()
    write_stdout(text)


def write_stdout(text: str) -> None:
    """Write text to stdout and flush; replace what the terminal's encoding cannot show."""
    stream = sys.stdout
    stream.flush()
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(text.encode(encoding, "replace").decode(encoding))
    stream.flush()


def note(text: str) -> None:
    """Write a line for people to stderr."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def streams_are_one() -> bool:
    """Whether stdout and stderr are the same terminal, file or pipe."""
    try:
        out, err = os.fstat(sys.stdout.fileno()), os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):  # not a real file: closed, or in memory
        return False
    return os.path.samestat(out, err)


def write_stderr(text: str) -> None:
    """Write output of the code to stderr and flush."""
    sys.stderr.write(text)
    sys.stderr.flush()


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Format rows as kubectl does: aligned, three spaces apart; the first row is the header."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("   ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows)
    return "".join(f"{line.rstrip()}\n" for line in lines)


def with_namespaces(rows: Sequence[list[str]], namespaces: Sequence[str]) -> list[list[str]]:
    """Put a NAMESPACE column first; ``rows`` includes the header, ``namespaces`` does not."""
    column = ["NAMESPACE", *namespaces]
    return [[namespace, *row] for namespace, row in zip(column, rows, strict=True)]
