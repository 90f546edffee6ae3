"""Keeps user code waiting until the NetworkPolicies of its pod are in force.

A network plugin learns of a pod when the pod already runs. Until then it refuses everything, or
nothing. The operator has two ports that tell the difference. Both accept connections of every pod.
The policies of a sandbox open the results port and nothing else of the operator. So a pod that
reaches the first one, and not the second one, is under its policies. A name with addresses of IPv4
and IPv6 has the ports at each of them, and the second port must be closed at all of them.
"""

import errno
import socket
import threading
import time
from collections.abc import Callable
from enum import Enum
from typing import Final, NamedTuple

from nanogrid import names
from nanogrid_executor.agent.known_addresses import remember
from nanogrid_executor.agent.plain_http import connect
from nanogrid_executor.agent.results_url import parse
from nanogrid_executor.log import log

CONNECT_SECONDS: Final = 0.5
POLL_SECONDS: Final = 0.03
# The plugin's first packets may be lost, and the resolver of glibc asks again after 5 s only.
RESOLVE_SECONDS: Final = 0.5
RESOLVE_PAUSE_SECONDS: Final = 0.05
CHECK_STOP_SECONDS: Final = 0.1
# Errors of this machine, which say nothing about the network.
LOCAL_ERRORS: Final = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL}
)


class Outcome(Enum):
    """What the pod observed of the port that it must not reach."""

    CLOSED = "closed"
    OPEN = "open"
    UNREACHABLE = "unreachable"  # not even the results port answers


class Bounds(NamedTuple):
    """How long a pod waits, in seconds.

    Attributes:
        enforce: for policies, once the results port answers. With a plugin that is open at first
            this is at once, and the plugin learns of the pod in this time.
        reach: for the results port. The operator may be away for a while.
    """

    enforce: float = 30.0
    reach: float = 120.0

    @property
    def longest(self) -> float:
        """The most that the test takes: the operator answers at the last moment."""
        return self.reach + self.enforce


class Ports(NamedTuple):
    """The operator's address."""

    host: str
    results: int
    denied: int


def reaches(address: tuple[str, int]) -> bool | None:
    """Whether a connection succeeds; None if this machine could not try.

    A pod without an address of a family reaches nothing of that family. A pod whose IPv6 is turned
    off gets the same error for it as a machine without free ports.
    """
    try:
        with connect(address, CONNECT_SECONDS):
            return True
    except OSError as error:
        without_ipv6 = error.errno == errno.EADDRNOTAVAIL and ":" in address[0]
        return None if error.errno in LOCAL_ERRORS and not without_ipv6 else False


def resolve(host: str, port: int, until: float) -> list[str]:
    """The addresses of a name; none if there is no answer until then (monotonic seconds)."""
    answers: list[list[str]] = []
    answered = threading.Semaphore(0)

    def ask() -> None:
        try:
            found = socket.getaddrinfo(host.encode("ascii"), port, type=socket.SOCK_STREAM)
            answers.append(list(dict.fromkeys(str(one[4][0]) for one in found)))
        except OSError:
            answers.append([])
        answered.release()

    while time.monotonic() < until:
        # Each try has its own thread: one that waits for a lost answer delays no other one.
        threading.Thread(target=ask, name="resolve", daemon=True).start()
        if not answered.acquire(timeout=RESOLVE_SECONDS):
            continue
        if addresses := answers.pop(0):
            return addresses
        time.sleep(RESOLVE_PAUSE_SECONDS)
    return []


def watch_until_closed(
    ports: Ports, bounds: Bounds, on_reached: Callable[[], None] = lambda: None
) -> Outcome:
    """Return when the denied port is closed to this pod, or after the bounds.

    ``on_reached`` is called when the results port has answered for the first time.
    """
    until = time.monotonic() + bounds.reach
    addresses = resolve(ports.host, ports.results, until)
    reached = False
    while addresses and time.monotonic() < until:
        if results := next((each for each in addresses if reaches((each, ports.results))), None):
            if not reached:
                reached, until = True, time.monotonic() + bounds.enforce
                on_reached()
            closed = all(reaches((each, ports.denied)) is False for each in addresses)
            # The results port again: an operator that just ended has closed both.
            if closed and reaches((results, ports.results)):
                remember(ports.host, results)
                return Outcome.CLOSED
        time.sleep(POLL_SECONDS)
    return Outcome.OPEN if reached else Outcome.UNREACHABLE


def watch_until_open(ports: Ports, bounds: Bounds) -> Outcome:
    """Return when this pod reaches the denied port, or after the bounds."""
    until = time.monotonic() + bounds.reach
    addresses = resolve(ports.host, ports.denied, until)
    while addresses and time.monotonic() < until:
        if any(reaches((each, ports.denied)) for each in addresses):
            return Outcome.OPEN
        time.sleep(POLL_SECONDS)
    return Outcome.UNREACHABLE


class NetworkGate:
    """Watches in a thread of its own from :meth:`start` on, while the agent prepares its work."""

    def __init__(self, results_url: str, gate_port: int | None, bounds: Bounds | None = None):
        """Without ``gate_port`` the gate is open."""
        url = parse(results_url)
        self._bounds = bounds or Bounds()
        self._decided = threading.Event()
        self._reachable = threading.Event()  # the plugin lets the pod's own packets through
        self._lock = threading.Lock()
        self._act: Callable[[str], None] | None = None
        self._problem = ""
        self._ports: Ports | None = None
        if gate_port is None:
            self._decide("")
        elif not url.host:
            self._decide(f"{names.ENV_RESULTS_URL} is not set, so the network cannot be tested")
        else:
            self._ports = Ports(url.host, url.port or names.RESULTS_PORT, gate_port)

    def start(self) -> None:
        """Begin to watch."""
        if self._ports is not None:
            threading.Thread(target=self._watch, name="network-gate", daemon=True).start()

    @property
    def decided(self) -> bool:
        """Whether :meth:`wait` would return at once."""
        return self._decided.is_set()

    @property
    def longest(self) -> float:
        """The most seconds until it is decided."""
        return self._bounds.longest

    def then(self, act: Callable[[str], None]) -> None:
        """Call ``act`` once with what :meth:`wait` returns: now, or later in the gate's thread."""
        with self._lock:
            if not self._decided.is_set():
                self._act = act
                return
        act(self._problem)

    def wait(self, stopped: Callable[[], bool] = lambda: False) -> str:
        """Wait until code may start.

        Returns:
            Why it may not, or nothing. Also when ``stopped`` says that the pod ends.
        """
        began = time.monotonic()
        if not _wait(self._decided, stopped):
            return "The pod stops"
        if self._ports is not None:
            # What the gate costs: the agent had nothing else to do.
            log("network-gate-waited", millis=_millis_since(began), problem=self._problem or "no")
        return self._problem

    def wait_reachable(self, stopped: Callable[[], bool]) -> None:
        """Wait until the pod has a network, proven or not; or it is decided, or stopped."""
        _wait(self._reachable, stopped)

    def _watch(self) -> None:
        ports = self._ports
        assert ports is not None  # noqa: S101 there is no thread without ports
        began = time.monotonic()
        outcome = watch_until_closed(ports, self._bounds, self._reachable.set)
        log("network-gate", port=outcome.value, millis=_millis_since(began))
        self._decide(_problem_of(outcome, ports, self._bounds))

    def _decide(self, problem: str) -> None:
        with self._lock:
            self._problem = problem
            self._decided.set()
        self._reachable.set()
        if self._act is not None:
            self._act(problem)


def _wait(event: threading.Event, stopped: Callable[[], bool]) -> bool:
    """Wait for the event; False if ``stopped`` came first."""
    while not event.wait(CHECK_STOP_SECONDS):
        if stopped():
            return False
    return True


def _millis_since(began: float) -> int:
    return round(1000 * (time.monotonic() - began))


def _problem_of(outcome: Outcome, ports: Ports, bounds: Bounds) -> str:
    if outcome is Outcome.CLOSED:
        return ""
    if outcome is Outcome.OPEN:
        return (
            f"The pod still reached {ports.host}:{ports.denied}, which its policies deny, after "
            f"{bounds.enforce:g} s"
        )
    return f"The pod did not reach {ports.host}:{ports.results} within {bounds.reach:g} s"
