"""The output of an ended job that its log did not show, taken from the result."""

from collections.abc import Iterator
from typing import Final

from nanogrid.client import exact_text
from nanogrid.client.callbacks import TextCallback
from nanogrid.client.errors import NanoGridError
from nanogrid.client.jobs.full_output import is_binary
from nanogrid.client.jobs.output_merge import (
    remaining_of_mixed,
    remaining_of_stream,
    remaining_of_tail,
)
from nanogrid.client.jobs.result import Result

STREAMS: Final = ("stdout", "stderr")


class LogText:
    """The exact text of one log that was passed on, and its size in bytes.

    ``exact`` is False if the log has U+FFFD for bytes that are not UTF-8.
    """

    def __init__(self, *, exact: bool = True) -> None:
        self.bytes = 0
        self.exact = exact
        self._texts: list[str] = []
        self._decoder = exact_text.decoder()

    @property
    def text(self) -> str:
        """All text so far."""
        return "".join(self._texts)

    def add(self, piece: bytes, final: bool = False) -> str:
        """Decode the next piece; a character may be split between two pieces."""
        self.bytes += len(piece)
        self._texts.append(self._decoder.decode(piece, final))
        return self._texts[-1]


def remaining(result: Result, stream: str, log: LogText, add_note: TextCallback) -> str:
    """The rest of one stream after its log.

    Args:
        result: of the attempt whose log was shown.
        stream: stdout or stderr.
        log: text of this stream that was shown.
        add_note: receives a sentence about text that is missing.
    """
    tail, total, truncated = _stream_of(result, stream)
    binary = is_binary(result.raw, stream)
    if (truncated or binary) and log.exact and log.bytes >= total:
        return log.add(b"", final=True)
    full = _full_text(result, stream, add_note) if truncated or (binary and log.exact) else ""
    continues = full.startswith(log.text)
    if binary and full and continues:
        _note_missing_end(stream, full, total, add_note)
        return full[len(log.text) :]
    if not truncated:
        rest = remaining_of_stream(exact_text.readable(log.text), tail)
        if rest is None:
            add_note(f"the log of {stream} differs from the result; the text of the result:")
        return tail if rest is None else rest
    had, more = log.bytes, ""
    if continues:
        more, had = full[len(log.text) :], max(had, len(exact_text.encode(full)))
    missing, rest = remaining_of_tail(had, tail, total)
    if missing:
        url = result.raw.get(f"{stream}Url") or "not kept"
        add_note(f"{missing} bytes of {stream} are left out before its end; in S3: {url}")
    return more + rest


def remaining_of_both(
    result: Result, log: LogText, add_note: TextCallback
) -> Iterator[tuple[str, str]]:
    """(stream, text) of the rest after a log that has both streams; see remaining."""
    known = {stream: _stream_of(result, stream) for stream in STREAMS}
    if log.exact and log.bytes >= sum(total for _, total, _ in known.values()) > 0:
        yield STREAMS[0], log.add(b"", final=True)
        return
    if log.bytes:
        text, wholes = log.text, []
        for stream, (tail, total, truncated) in known.items():
            binary = is_binary(result.raw, stream) and log.exact
            whole = _full_text(result, stream, add_note) if truncated or binary else tail
            if binary and not whole and not truncated:  # compare what both sides have
                text, whole = exact_text.readable(text), tail
            elif binary and whole:
                _note_missing_end(stream, whole, total, add_note)
            wholes.append(whole)
        if text != log.text or not log.exact:
            wholes = [exact_text.readable(whole) for whole in wholes]
        rests = remaining_of_mixed(text, wholes[0], wholes[1])
        if rests is not None:
            yield from zip(STREAMS, rests, strict=True)
            return
        add_note("the log differs from the result; the text of the result:")
    for stream in STREAMS:
        yield stream, remaining(result, stream, LogText(), add_note)


def _note_missing_end(stream: str, full: str, total: int, add_note: TextCallback) -> None:
    missing = total - len(exact_text.encode(full))
    if missing > 0:
        add_note(f"the last {missing} bytes of {stream} are not in S3")


def _stream_of(result: Result, stream: str) -> tuple[str, int, bool]:
    """The stream's text or its end, bytes of the whole stream, whether the text is shortened."""
    text = str(result.raw.get(stream) or "")
    total = int(result.raw.get(f"{stream}Bytes") or len(text.encode()))
    return text, total, bool(result.raw.get(f"{stream}Truncated"))


def _full_text(result: Result, stream: str, add_note: TextCallback) -> str:
    """The full exact text from S3; "" with a note when it cannot be read."""
    try:
        return exact_text.decode(
            result.full_stdout_bytes() if stream == "stdout" else result.full_stderr_bytes()
        )
    except NanoGridError as e:
        add_note(f"{stream} is incomplete: {e.message}")
        return ""
