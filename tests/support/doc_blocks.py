"""The code blocks of a documentation page, and running them in order.

A comment before a block says how it is run: ``<!-- skip: REASON -->`` for a block that no test
runs, and a marker of a page such as ``<!-- cluster -->``.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

SKIP: Final = "skip"
_BLOCK: Final = re.compile(
    r"(?:^<!-- (\w+)(?:: ([^\n]*))? -->\n)?^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE
)


@dataclass(frozen=True)
class Block:
    """One block; ``reason`` says why it is skipped, ``line`` is where its text begins."""

    marker: str
    reason: str
    language: str
    text: str
    line: int


def all_blocks(page: Path) -> list[Block]:
    """All blocks of a page, in their order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            found[1] or "",
            found[2] or "",
            found[3],
            found[4],
            text.count("\n", 0, found.start(4)),
        )
        for found in _BLOCK.finditer(text)
    ]


def blocks(page: Path) -> list[tuple[str, int, str]]:
    """Marker ("" if there is none), line number and text of each Python block that runs."""
    return [
        (one.marker, one.line, one.text)
        for one in all_blocks(page)
        if one.language == "python" and one.marker != SKIP
    ]


def script_of(page: Path, markers: set[str]) -> str:
    """The Python blocks with one of these markers as one script."""
    return "\n".join(text for marker, _, text in blocks(page) if marker in markers)


def run_blocks(page: Path, markers: set[str], space: dict[str, Any]) -> int:
    """Run the blocks with one of these markers in one namespace; returns their number."""
    chosen = [one for one in blocks(page) if one[0] in markers]
    for _, line, text in chosen:
        # Line numbers in a traceback are the page's line numbers.
        exec(compile("\n" * line + text, str(page), "exec"), space)
    return len(chosen)
