"""Faults of a proxy: which calls they pick, and what happens to these calls.

A fault has a predicate over calls and an effect. See :mod:`chaos.lab.faultproxy`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Lock


@dataclass(frozen=True, slots=True)
class Call:
    """One request, as a predicate sees it. ``number`` counts the proxy's calls from 1."""

    number: int
    method: str
    path: str
    query: Mapping[str, str]
    remote: str  # the client's address
    at: float  # time.monotonic()

    @property
    def watch(self) -> bool:
        """Whether it is a Kubernetes watch, which stays open."""
        return self.query.get("watch") in ("1", "true")

    def __str__(self) -> str:
        return f"{self.number} {self.method} {self.path}{' (watch)' if self.watch else ''}"


@dataclass(frozen=True, slots=True)
class Answer:
    """The client gets this answer; the server gets no request."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refuse:
    """The connection is reset before the server gets the request."""


@dataclass(frozen=True, slots=True)
class LoseAnswer:
    """The server handles the request; its answer never arrives."""


@dataclass(frozen=True, slots=True)
class Delay:
    """The request waits ``seconds`` before it is forwarded."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Hang:
    """No answer comes until the client gives up."""


@dataclass(frozen=True, slots=True)
class Slow:
    """The answer's body arrives at ``bytes_per_second``."""

    bytes_per_second: int


@dataclass(frozen=True, slots=True)
class Cut:
    """The answer's body ends after ``after_bytes``, with a normal close or with a reset."""

    after_bytes: int
    reset: bool = False


@dataclass(frozen=True, slots=True)
class Stall:
    """The answer's body stops after ``after_bytes``; the connection stays open."""

    after_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Rewrite:
    """The server gets a changed request body."""

    change: Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class Corrupt:
    """One bit of the answer's first byte is inverted."""


@dataclass(frozen=True, slots=True)
class Before:
    """A function runs (it may kill a process); then the request is refused with a reset."""

    do: Callable[[], object]


@dataclass(frozen=True, slots=True)
class After:
    """The server handles the request; then a function runs, and the answer never arrives."""

    do: Callable[[], object]


@dataclass(frozen=True, slots=True)
class Tap:
    """Two functions see each piece of the answer's body: before and after it is sent on.

    They may kill a process. If one returns True, the client's connection is reset.
    """

    before: Callable[[bytes], bool]
    after: Callable[[bytes], bool]


Effect = (
    Answer | Refuse | LoseAnswer | Delay | Hang | Slow | Cut | Stall | Rewrite | Corrupt
    | Before | After | Tap
)  # fmt: skip


@dataclass(slots=True)
class Fault:
    """A live fault; ``calls`` are those it was applied to."""

    picks: Callable[[Call], bool]
    effect: Effect
    times: int | None
    lock: Lock  # of the proxy, which is held while a call looks for its fault
    calls: list[Call] = field(default_factory=list)
    removed: bool = False

    @property
    def hits(self) -> int:
        """How many calls it was applied to."""
        return len(self.calls)

    def remove(self) -> None:
        """End the fault; ``calls`` does not change any more."""
        with self.lock:
            self.removed = True
