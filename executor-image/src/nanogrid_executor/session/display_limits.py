"""Rich results as the user's process wrote them: validated, and limited per execution. Pure."""

from typing import Final

from nanogrid import json_text

MAX_RESULTS: Final = 200
MAX_BYTES: Final = 32 * 1024 * 1024


class DisplayLimiter:
    """Accepts or drops each rich result of one execution."""

    def __init__(self, max_results: int = MAX_RESULTS, max_bytes: int = MAX_BYTES) -> None:
        self._max_results = max_results
        self._max_bytes = max_bytes
        self._count = 0
        self._bytes = 0
        self._full = False

    def accept(self, payload: bytes) -> dict[str, str] | None:
        """The bundle to show; None when the execution has exceeded its limits before."""
        self._count += 1
        self._bytes += len(payload)
        if self._full:
            return None
        if self._count > self._max_results or self._bytes > self._max_bytes:
            self._full = True
            limits = f"{self._max_results} results with {self._max_bytes} bytes in total"
            return {"text/plain": f"All further results are left out: the limit is {limits}"}
        return parse(payload)


def parse(payload: bytes) -> dict[str, str]:
    """A bundle from JSON; a text that names the problem if it is not one."""
    try:
        bundle = json_text.parse(payload)
    except ValueError as error:
        return {"text/plain": f"A result is left out: it is not JSON ({error})"}
    if not isinstance(bundle, dict) or not all(isinstance(v, str) for v in bundle.values()):
        return {"text/plain": "A result is left out: it is not an object of strings"}
    return bundle
