"""Numbers and tables of docs/performance.md. Pure."""

from collections.abc import Sequence

from support.figures import Interval, Ratio

NONE = "–"


def number(value: float) -> str:
    """A number with about three digits, and commas in thousands."""
    size = abs(value)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2
    return f"{value:,.{digits}f}"


def cell(found: Interval | Ratio, unit: str = "") -> str:
    """Median, interval and number of values; one value has no interval."""
    count = found.pairs if isinstance(found, Ratio) else found.count
    tail = f" {unit}" if unit else ""
    if count == 1:
        return f"{number(found.median)}{tail} (one value)"
    return f"{number(found.median)}{tail} ({number(found.low)}–{number(found.high)}, {count})"


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of Markdown; a bar in a cell is escaped."""
    lines = [list(head), ["---"] * len(head), *(list(row) for row in rows)]
    return "\n".join(
        "| " + " | ".join(text.replace("|", "\\|") for text in line) + " |" for line in lines
    )
