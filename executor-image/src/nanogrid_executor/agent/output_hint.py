"""A hint for code that creates the output directory, which exists before it starts."""

import re
from typing import Final

from nanogrid import names

_FAILED: Final = r"(?:File exists|file already exists|EEXIST)"


def output_hint(stderr: str, path: str) -> str:
    """What to change, if the last lines of stderr say that the output directory exists; else empty.

    Args:
        stderr: of code that failed.
        path: of the output directory, relative to the workspace.
    """
    folder = rf"""["'‘`](?:\./|{names.WORKSPACE}/)?{re.escape(path.strip("/"))}/?["'’`]"""
    for line in stderr.splitlines()[-20:]:
        if re.search(_FAILED, line) and re.search(folder, line):
            return (
                f"{path}/ exists before the code starts: remove the mkdir, or use "
                f"os.makedirs({path!r}, exist_ok=True) or mkdir -p"
            )
    return ""
