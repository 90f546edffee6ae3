"""What of the code's output is still to be told when its live text has ended. Pure.

Live text comes from the sandbox's log, which may lack the end; the result has the end, and may lack
the beginning. Together they are whole, and nothing may be told twice.
"""

from typing import Final

STATES: Final = 256


def rest_of_stream(shown: str, whole: str) -> str | None:
    """What of ``whole`` was not shown; None when something else was."""
    return whole[len(shown) :] if whole.startswith(shown) else None


def rest_of_tail(shown_bytes: int, tail: str, total: int) -> tuple[int, str]:
    """How many bytes are missing after what was shown, and what of the tail follows them.

    Args:
        shown_bytes: so many of the stream were shown.
        tail: the stream's end.
        total: bytes that the stream had.
    """
    data = tail.encode()
    begins = max(0, total - len(data))
    if shown_bytes >= total:
        return 0, ""
    if shown_bytes < begins:
        return begins - shown_bytes, tail
    return 0, data[shown_bytes - begins :].decode(errors="replace")


def rest_of_mixed(shown: str, out: str, err: str) -> tuple[str, str] | None:
    """What of stdout and of stderr was not shown, when both were shown in one text.

    The text is an interleaving of whole lines of both; which line was whose is found by following
    all possibilities at once. None when it is no such interleaving.
    """
    ways, consumed = {0}, 0  # characters of stdout that may have been consumed
    for line in shown.splitlines(keepends=True):
        ways = {end for way in ways for end in _steps(line, out, way, err, consumed - way)}
        if not ways:
            return None
        ways = set(sorted(ways)[:STATES])
        consumed += len(line)
    way = max(ways)
    return out[way:], err[consumed - way :]


def _steps(line: str, out: str, at_out: int, err: str, at_err: int) -> set[int]:
    """Where stdout may be after a line; an unterminated end of one stream may begin it."""
    found = set()
    if out.startswith(line, at_out):
        found.add(at_out + len(line))
    if err.startswith(line, at_err):
        found.add(at_out)
    last_out = out[at_out:] if 0 < len(out) - at_out < len(line) else ""
    if last_out and line.startswith(last_out) and err.startswith(line[len(last_out) :], at_err):
        found.add(len(out))
    last_err = err[at_err:] if 0 < len(err) - at_err < len(line) else ""
    if last_err and line.startswith(last_err) and out.startswith(line[len(last_err) :], at_out):
        found.add(at_out + len(line) - len(last_err))
    return found
