"""Shortens streams and texts to their head and tail; a stream of any length in constant memory.

The head shows how a program began, the tail how it ended. A marker line between them counts the
bytes left out. The text is at most ``cap`` bytes of UTF-8, the marker line included.
"""

import codecs
from typing import Final

from nanogrid.wire import ENCODING_BINARY, ENCODING_TEXT, STREAM_CAP_BYTES

MARKER_ROOM: Final = 64


class Capture:
    """Takes a stream in pieces; gives its text, its length and whether the text is shortened."""

    def __init__(self, cap: int = STREAM_CAP_BYTES) -> None:
        if cap < 2 * MARKER_ROOM:
            raise ValueError(f"cap is {cap}, at least {2 * MARKER_ROOM} are needed")
        self.cap = cap
        self.count = 0
        self._head = bytearray()
        self._tail = bytearray()
        self._utf8: codecs.IncrementalDecoder | None = codecs.getincrementaldecoder("utf-8")()

    def feed(self, data: bytes) -> None:
        """Take the next piece."""
        self.count += len(data)
        self._check(data)
        room = self.cap - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        if data:
            self._tail += data[-self.cap :]
            if len(self._tail) > 2 * self.cap:  # trimmed rarely, so that feeding stays linear
                del self._tail[: -self.cap]

    def _check(self, data: bytes) -> None:
        if self._utf8 is not None:
            try:
                self._utf8.decode(data)
            except UnicodeDecodeError:
                self._utf8 = None

    @property
    def encoding(self) -> str:
        """``ENCODING_BINARY`` when the stream so far is not UTF-8."""
        whole = self._utf8 is not None and not self._utf8.getstate()[0]
        return ENCODING_TEXT if whole else ENCODING_BINARY

    def text(self) -> str:
        """The captured text; bytes that are not UTF-8 become U+FFFD."""
        return self._fit()[0]

    @property
    def truncated(self) -> bool:
        """Whether the text lacks some of the stream."""
        return self._fit()[1]

    def _fit(self) -> tuple[str, bool]:
        # A stream of up to two caps is still complete here. U+FFFD takes 3 bytes for 1, so only
        # the decoded text shows whether it fits.
        if self.count <= self.cap:
            whole = self._head.decode(errors="replace")
            if len(whole.encode()) <= self.cap:
                return whole, False
        return shorten(bytes(self._head), bytes(self._tail), self.count, self.cap), True


def shorten_text(text: str, cap: int) -> str:
    """Head and tail of a text in at most ``cap`` bytes of UTF-8; a text that fits is unchanged."""
    data = text.encode()
    if len(data) <= cap:
        return text
    return shorten(data, b"", len(data), cap)


def shorten_line(text: str, cap: int) -> str:
    """:func:`shorten_text` for one line: the result is one line, too."""
    return shorten_text(text, cap).replace("\n", " ")


def shorten(head: bytes, tail: bytes, count: int, cap: int) -> str:
    """Half of ``cap`` from the beginning, half from the end, and the marker line between them.

    Args:
        head: the first bytes of the stream.
        tail: its last bytes, except those in ``head``.
        count: its length in bytes.
        cap: most bytes of UTF-8 that the text may have; without room for the marker it is empty.
    """
    if cap < 2 * MARKER_ROOM:
        return ""
    half = (cap - MARKER_ROOM) // 2
    first = _clip_end(head[:half], half)
    last = _clip_start((head + tail)[-half:], half)
    left_out = count - len(first[1]) - len(last[1])
    return f"{first[0]}\n... {left_out} bytes left out ...\n{last[0]}"


def _clip_end(data: bytes, limit: int) -> tuple[str, bytes]:
    """The longest beginning whose text is at most ``limit`` bytes and cuts no character."""
    cut = len(data)
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 != 0x80:  # the first byte of the last character
            if back < _length(byte):
                cut -= back
            break
    text = data[:cut].decode(errors="replace")
    while len(text.encode()) > limit:
        cut = cut * 2 // 3  # only text full of invalid bytes grows when it is decoded
        text = data[:cut].decode(errors="replace")
    return text, data[:cut]


def _clip_start(data: bytes, limit: int) -> tuple[str, bytes]:
    """The longest end whose text is at most ``limit`` bytes and cuts no character."""
    start = 0
    while start < min(3, len(data)) and data[start] & 0xC0 == 0x80:
        start += 1
    data = data[start:]
    text = data.decode(errors="replace")
    while len(text.encode()) > limit:
        data = data[len(data) // 3 + 1 :]
        text = data.decode(errors="replace")
    return text, data


def _length(first: int) -> int:
    """The bytes of the UTF-8 character that begins with this byte."""
    if first >= 0xF0:
        return 4
    if first >= 0xE0:
        return 3
    return 2 if first >= 0xC0 else 1
