"""What is left to tell of an ended job's output, after its log and with its result."""

import codecs
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from nanogrid.client.errors import NanoGridError
from nanogrid.client.rest import rest_of_mixed, rest_of_stream, rest_of_tail

if TYPE_CHECKING:
    from nanogrid.client.result import Result

STREAMS: Final = ("stdout", "stderr")
Remark = Callable[[str], None]


class Shown:
    """What was told of one log: its text, and how many bytes that were."""

    def __init__(self) -> None:
        self.bytes = 0
        self._texts: list[str] = []
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self._texts)

    def take(self, piece: bytes, final: bool = False) -> str:
        """The next piece's text; a character may lie across two pieces."""
        self.bytes += len(piece)
        self._texts.append(self._decoder.decode(piece, final))
        return self._texts[-1]


def rest_of(result: "Result", stream: str, shown: Shown, remark: Remark) -> str:
    """What is left of one stream.

    Args:
        result: of the attempt that was shown.
        stream: stdout or stderr.
        shown: its log.
        remark: told in a sentence what is missing.
    """
    tail, total, truncated = _known(result, stream)
    if not truncated:
        rest = rest_of_stream(shown.text, tail)
        if rest is None:
            remark(f"the log of {stream} is not what the result has; the result's:")
        return tail if rest is None else rest
    if shown.bytes >= total:
        return shown.take(b"", final=True)
    full, had, more = _full(result, stream, remark), shown.bytes, ""
    if full.startswith(shown.text):
        more, had = full[len(shown.text) :], max(had, len(full.encode()))
    missing, rest = rest_of_tail(had, tail, total)
    if missing:
        whole = result.raw.get(f"{stream}Url") or "not kept"
        remark(f"{missing} bytes of {stream} are left out before its end; in S3: {whole}")
    return more + rest


def rest_of_both(result: "Result", shown: Shown, remark: Remark) -> Iterator[tuple[str, str]]:
    """What is left of (stream, text) after a log that has both streams."""
    known = {stream: _known(result, stream) for stream in STREAMS}
    if shown.bytes >= sum(total for _, total, _ in known.values()) > 0:
        yield STREAMS[0], shown.take(b"", final=True)
        return
    if shown.bytes:
        wholes = [
            _full(result, stream, remark) if truncated else tail
            for stream, (tail, _, truncated) in known.items()
        ]
        rests = rest_of_mixed(shown.text, wholes[0], wholes[1])
        if rests is not None:
            yield from zip(STREAMS, rests, strict=True)
            return
        remark("the log is not what the result has; the result's:")
    for stream in STREAMS:
        yield stream, rest_of(result, stream, Shown(), remark)


def _known(result: "Result", stream: str) -> tuple[str, int, bool]:
    """The stream's text or its end, the stream's bytes, and whether the text is not all of it."""
    text = str(result.raw.get(stream) or "")
    total = int(result.raw.get(f"{stream}Bytes") or len(text.encode()))
    return text, total, bool(result.raw.get(f"{stream}Truncated"))


def _full(result: "Result", stream: str, remark: Remark) -> str:
    """A shortened stream as S3 has it; "" when it is not to be had, which is said."""
    try:
        return result.full_stdout() if stream == "stdout" else result.full_stderr()
    except NanoGridError as e:
        remark(f"{stream} is not whole here: {e.message}")
        return ""
