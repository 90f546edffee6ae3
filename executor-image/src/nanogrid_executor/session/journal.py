"""The numbers of accepted executions, on the volume that survives a restart of the agent.

Each accepted execution is one line, written before anything else happens. So no number is given
twice, and a client that repeats a request after a restart learns that it was accepted. User code
can read the volume, so the file has only the hashes of keys.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from typing import Any, Final

from nanogrid_executor.log import warn

KEYS: Final = 1000


@dataclass(frozen=True, slots=True)
class AcceptedKey:
    """What an Idempotency-Key stands for: an execution, and the hash of its request."""

    number: int
    digest: str


def digest(text: str | bytes) -> str:
    """A short hash that identifies a request."""
    data = text.encode() if isinstance(text, str) else text
    return hashlib.sha256(data).hexdigest()[:32]


class Journal:
    """The file; not thread-safe, the caller holds a lock."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.last = 0
        self.started: float | None = None
        self._keys: dict[str, AcceptedKey] = {}
        self._read()

    @property
    def exists(self) -> bool:
        """Whether an earlier agent has begun the journal."""
        return self.started is not None

    def begin(self, last: int, started: float) -> None:
        """Begin a new journal, atomically.

        Args:
            last: the number before the first one to give.
            started: when the session started, in seconds of this machine's monotonic clock.
        """
        self.last, self.started = last, started
        self._rewrite()

    def accept(self, key: str | None, request_digest: str) -> int:
        """Give the next number.

        Raises:
            OSError: the line could not be written, so the number is not given.
        """
        number = self.last + 1
        line: dict[str, Any] = {"n": number}
        if key is not None:
            line |= {"k": digest(key), "d": request_digest}
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            os.write(descriptor, (json.dumps(line) + "\n").encode())
        finally:
            os.close(descriptor)
        self._apply(line)
        return number

    def find(self, key: str) -> AcceptedKey | None:
        """What was accepted under a key, among the last ``KEYS`` keys."""
        return self._keys.get(digest(key))

    def _apply(self, line: dict[str, Any]) -> None:
        self.last = max(self.last, int(line["n"]))
        if "s" in line:
            self.started = float(line["s"])
        if "k" in line:
            self._keys[line["k"]] = AcceptedKey(int(line["n"]), line["d"])
            if len(self._keys) > KEYS:
                del self._keys[next(iter(self._keys))]

    def _read(self) -> None:
        try:
            with open(self.path, encoding="utf-8") as file:
                lines = file.read().split("\n")
        except FileNotFoundError:
            return
        for number, text in enumerate(lines, 1):
            if not text:
                continue
            try:
                self._apply(json.loads(text))
            except (ValueError, KeyError) as error:  # the agent ended while it wrote the line
                warn("journal-line-broken", line=number, error=error)
        self._rewrite()  # complete lines only, and only as many as needed

    def _rewrite(self) -> None:
        lines: list[dict[str, Any]] = [{"n": self.last, "s": self.started}]
        lines += [{"n": a.number, "k": key, "d": a.digest} for key, a in self._keys.items()]
        temporary = f"{self.path}.new"
        with open(temporary, "w", encoding="utf-8") as file:
            file.write("".join(json.dumps(line) + "\n" for line in lines))
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, self.path)
