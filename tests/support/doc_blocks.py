"""The Python blocks of a documentation page, and running them in order."""

import re
from pathlib import Path
from typing import Any

BLOCK = re.compile(r"(?:<!-- (\w+) -->\n)?```python\n(.*?)```", re.DOTALL)


def blocks(page: Path) -> list[tuple[str, int, str]]:
    """Marker ("" if there is none), line number and text of each block."""
    text = page.read_text()
    return [
        (found[1] or "", text.count("\n", 0, found.start(2)), found[2])
        for found in BLOCK.finditer(text)
    ]


def run_blocks(page: Path, markers: set[str], space: dict[str, Any]) -> int:
    """Run the blocks with one of these markers in one namespace; returns their number."""
    chosen = [one for one in blocks(page) if one[0] in markers]
    for _, line, text in chosen:
        # Line numbers in a traceback are the page's line numbers.
        exec(compile("\n" * line + text, str(page), "exec"), space)
    return len(chosen)
