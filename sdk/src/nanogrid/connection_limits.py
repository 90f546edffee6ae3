"""How many clients a server has at a time, and how slow they may be."""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from nanogrid.addresses import Networks

GRACE_SECONDS: Final = 1.0  # of waiting, after which a client counts as slow
LINGER_BYTES: Final = 256 << 20


class Slots:
    """A number of slots for work that takes long."""

    def __init__(self, count: int) -> None:
        self._free = count

    def take(self) -> bool:
        """Take a slot, to be given back when the work ends; False if all are taken."""
        if self._free <= 0:
            return False
        self._free -= 1
        return True

    def give_back(self) -> None:
        """The slot is free again."""
        self._free += 1


class Shares:
    """Slots for each owner, so that one of them does not take those of the others."""

    def __init__(self, most: int) -> None:
        """``most`` slots for each owner."""
        self._most = most
        self._taken: Counter[str] = Counter()

    @contextlib.contextmanager
    def slot(self, owner: str, refused: Callable[[], Exception]) -> Iterator[None]:
        """Hold a slot of an owner.

        Raises:
            Exception: that of ``refused``, if the owner has no free slot.
        """
        if self._taken[owner] >= self._most:
            raise refused()
        self._taken[owner] += 1
        try:
            yield
        finally:
            self._taken[owner] -= 1
            if not self._taken[owner]:
                del self._taken[owner]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """The bounds of one server.

    Args:
        read_seconds: for the first byte of a connection, for the head of a request, and for a
            client that reads nothing.
        most: connections.
        most_per_address: connections of one address.
        proxies: have many clients, so that only ``most`` counts for them.
        linger_bytes: that a client may send after its last answer.
    """

    read_seconds: float
    most: int
    most_per_address: int
    proxies: Networks = ()
    linger_bytes: int = LINGER_BYTES
