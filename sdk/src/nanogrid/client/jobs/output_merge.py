"""Merge of a log and a result: the text of the result that the log does not have. Pure.

Live text comes from the sandbox's log, which may lack the end. The result has the end and may lack
the beginning. Together they are complete, and no text may appear twice.
"""

from typing import Final

MOST_STATES: Final = 256


def remaining_of_stream(shown: str, whole: str) -> str | None:
    """The part of ``whole`` after ``shown``; None when ``whole`` does not start with it."""
    return whole[len(shown) :] if whole.startswith(shown) else None


def remaining_of_tail(shown_bytes: int, tail: str, total: int) -> tuple[int, str]:
    """The number of missing bytes after the shown ones, and the part of the tail that follows.

    Args:
        shown_bytes: number of bytes of the stream that were shown.
        tail: the end of the stream.
        total: bytes of the whole stream.
    """
    data = tail.encode()
    begin = max(0, total - len(data))
    if shown_bytes >= total:
        return 0, ""
    if shown_bytes < begin:
        return begin - shown_bytes, tail
    return 0, data[shown_bytes - begin :].decode(errors="replace")


def remaining_of_mixed(shown: str, out: str, err: str) -> tuple[str, str] | None:
    """The parts of stdout and stderr that are not in ``shown``, which has lines of both.

    The text interleaves whole lines of both streams. The search follows all possible assignments
    of lines to streams at once. None when the text is not such an interleaving.
    """
    states, consumed = {0}, 0  # possible numbers of consumed characters of stdout
    for line in shown.splitlines(keepends=True):
        states = {end for at in states for end in _steps(line, out, at, err, consumed - at)}
        if not states:
            return None
        states = set(sorted(states)[:MOST_STATES])
        consumed += len(line)
    at = max(states)
    return out[at:], err[consumed - at :]


def _steps(line: str, out: str, at_out: int, err: str, at_err: int) -> set[int]:
    """Possible positions in stdout after a line; it may begin with the open end of one stream."""
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
