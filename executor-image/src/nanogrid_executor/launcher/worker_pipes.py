"""The launcher's ends of a worker's pipes: its input, and the messages of its interpreter.

Standard library only.
"""

import os
import select
import struct
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from nanogrid_executor.launcher import batch, frames, session_frames
from nanogrid_executor.launcher.process_tree import ProcessTree

HEADER: Final = struct.Struct("!cI")  # interpreter.ControlSocket.send


class Poller(Protocol):
    """Calls back at events of descriptors."""

    def watch(self, fd: int, events: int, callback: Callable[[], object]) -> None:
        """Call ``callback`` at these events; replaces an earlier callback of the descriptor."""

    def unwatch(self, fd: int) -> None:
        """Stop watching the descriptor."""


class StdinWriter:
    """Writes the standard input of a tree's program, and closes it."""

    def __init__(self, poller: Poller, tree: ProcessTree) -> None:
        self._poller, self._tree = poller, tree
        self._left = b""

    def start(self, data: bytes) -> None:
        """Write when the program reads."""
        if self._tree.stdin is not None:
            self._left = data
            os.set_blocking(self._tree.stdin, False)
            self._poller.watch(self._tree.stdin, select.POLLOUT, self._write)

    def close(self) -> None:
        """Close the pipe, if it is open."""
        if self._tree.stdin is not None:
            self._poller.unwatch(self._tree.stdin)
            os.close(self._tree.stdin)
            self._tree.stdin = None

    def _write(self) -> None:
        fd = self._tree.stdin
        if fd is None:
            return
        try:
            self._left = self._left[os.write(fd, self._left[: batch.READ_BYTES]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._left = b""  # the code may close its input without reading it
        if not self._left:
            self.close()


class Inbox:
    """Joins the messages of an interpreter; they may be forged."""

    def __init__(self) -> None:
        self._data = bytearray()

    def add(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Kind and payload of each message that is complete now.

        Raises:
            ProtocolError: a message is longer than ``MAX_BUNDLE``.
        """
        self._data += data
        while len(self._data) >= HEADER.size:
            kind, length = HEADER.unpack_from(self._data)
            if length > session_frames.MAX_BUNDLE:
                raise frames.ProtocolError(f"the message has {length} bytes")
            end = HEADER.size + length
            if len(self._data) < end:
                return
            payload = bytes(self._data[HEADER.size : end])
            del self._data[:end]
            yield kind, payload
