"""stdout carries the requested data only: as table, json, yaml or names."""

import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import Annotated, Any, Final, TextIO

import typer

from nanogrid.visible_text import printable, printable_lines


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
    if output_format in (Format.JSON, Format.YAML):
        data = without_noise(data)
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


def without_noise(data: Any) -> Any:
    """Kubernetes objects without metadata.managedFields, as kubectl shows them."""
    if isinstance(data, list):
        return [without_noise(one) for one in data]
    if not isinstance(data, dict) or not isinstance(data.get("metadata"), dict):
        return data
    metadata = {key: value for key, value in data["metadata"].items() if key != "managedFields"}
    return data | {"metadata": metadata}


def write_stdout(text: str) -> None:
    """Write text to stdout and flush; see _write."""
    _write(sys.stdout, text)


def _write(stream: TextIO, text: str) -> None:
    """Write text, which may be exact (:mod:`nanogrid.client.exact_text`), and flush.

    A file or a pipe gets the exact bytes. A terminal gets what its encoding can show.
    """
    stream.flush()
    encoding = getattr(stream, "encoding", None) or "utf-8"
    if not text.isascii():
        from nanogrid.client import exact_text

        buffer = getattr(stream, "buffer", None)
        if buffer is not None and not stream.isatty() and encoding.lower() in ("utf-8", "utf8"):
            buffer.write(exact_text.encode(text))
            buffer.flush()
            return
        text = exact_text.readable(text)
    stream.write(text.encode(encoding, "replace").decode(encoding))
    stream.flush()


def write_logs(texts: Iterable[str]) -> bool:
    """Write the output of code to stdout; on a terminal, it ends with a line end.

    Returns:
        Whether there was any text.
    """
    last, written = "\n", False
    for text in texts:
        write_stdout(text)
        last, written = text or last, written or bool(text)
    if sys.stdout.isatty() and not last.endswith("\n"):
        write_stdout("\n")
    return written


def note(text: str) -> None:
    """Write a line for people to stderr; characters that are not seen become escapes."""
    sys.stderr.write(f"{printable_lines(text)}\n")
    sys.stderr.flush()


def streams_are_one() -> bool:
    """Whether stdout and stderr are the same terminal, file or pipe."""
    try:
        out, err = os.fstat(sys.stdout.fileno()), os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):  # not a real file: closed, or in memory
        return False
    return os.path.samestat(out, err)


def write_stderr(text: str) -> None:
    """Write output of the code to stderr and flush; see _write."""
    _write(sys.stderr, text)


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Format rows as kubectl does: aligned, three spaces apart; the first row is the header.

    Characters of a cell that are not seen become escapes.
    """
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("   ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows)
    return "".join(f"{line.rstrip()}\n" for line in lines)


def with_namespaces(rows: Sequence[list[str]], namespaces: Sequence[str]) -> list[list[str]]:
    """Put a NAMESPACE column first; ``rows`` includes the header, ``namespaces`` does not."""
    column = ["NAMESPACE", *namespaces]
    return [[namespace, *row] for namespace, row in zip(column, rows, strict=True)]
