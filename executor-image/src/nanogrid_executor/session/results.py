"""Rich results as user code's process wrote them: checked, and bounded for each execution. Pure."""

import json
from typing import Final

MAX_RESULTS: Final = 200
MAX_BYTES: Final = 32 * 1024 * 1024


class Results:
    """Decides on each result of one execution."""

    def __init__(self) -> None:
        self._count = 0
        self._bytes = 0
        self._full = False

    def take(self, payload: bytes) -> dict[str, str] | None:
        """The bundle to show; None when the execution has shown too much already."""
        self._count += 1
        self._bytes += len(payload)
        if self._full:
            return None
        if self._count > MAX_RESULTS or self._bytes > MAX_BYTES:
            self._full = True
            limits = f"{MAX_RESULTS} results of together {MAX_BYTES} bytes"
            return {"text/plain": f"All further results are left out: at most {limits} are kept"}
        return parse(payload)


def parse(payload: bytes) -> dict[str, str]:
    """A bundle from JSON; a text that says what is wrong, when it is none."""
    try:
        bundle = json.loads(payload)
    except (ValueError, RecursionError) as error:
        return {"text/plain": f"A result is left out: it is no JSON ({error})"}
    if not isinstance(bundle, dict) or not all(isinstance(v, str) for v in bundle.values()):
        return {"text/plain": "A result is left out: it is no object of texts"}
    return bundle
