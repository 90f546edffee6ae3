"""The requests whose cost `bench.capacity` measures, and what it finds."""

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from bench.load import Request
from examples.gateway_client import form
from nanogrid.types import Json
from support.gateways import ECHO
from support.hostile_archives import make

CALLERS: Final = 4  # each has limits of its own; also the connections
EVENTS: Final = 100


@dataclass(frozen=True, slots=True)
class Case:
    """A kind of request; ``pod`` is where CPU is counted, and "" if it is not."""

    name: str
    pod: str
    count: int
    request: Callable[[int], Request]
    at_once: int = CALLERS


@dataclass(slots=True)
class Row:
    """The figures of a case, one of each round."""

    cpu_millis: list[float] = field(default_factory=list)
    rate: list[float] = field(default_factory=list)
    median_millis: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Held:
    """Requests that wait at the same time: the cost of each one."""

    count: int
    kibibytes: float
    cpu_millis_per_second: float


@dataclass(frozen=True, slots=True)
class GatewayCalls:
    """Requests to a gateway, in turn by callers that have a token and a function each."""

    url: str
    tokens: list[str]
    functions: list[str]

    def request(
        self, number: int, method: str, path: str, body: Json | None = None, status: int = 200
    ) -> Request:
        """A request of the caller whose turn it is."""
        headers = {"Authorization": f"Bearer {self.tokens[number % CALLERS]}"}
        data = None if body is None else json.dumps(body).encode()
        return Request(self.url + path, method, data, headers, status)

    def upload(self, number: int) -> Request:
        """The next version of the caller's function."""
        name = self.functions[number % CALLERS]
        data, kind = form(make(("main.py", ECHO)), {"functionId": name})
        headers = {"Content-Type": kind, "Authorization": f"Bearer {self.tokens[number % CALLERS]}"}
        return Request(f"{self.url}/upload", "POST", data, headers, 201)

    def run(
        self,
        number: int,
        request_id: str = "",
        *,
        wait: int = 60,
        sleep: int = 0,
        status: int = 200,
    ) -> Request:
        """Run the caller's function, or the first one under a given requestId."""
        function = self.functions[0 if request_id else number % CALLERS]
        body: Json = {"functionId": function, "inputData": {"sleep": sleep}, "wait": wait}
        body["requestId"] = request_id or f"bench-{uuid.uuid4().hex[:12]}"
        return self.request(number, "POST", "/run", body, status)

    def result(self, number: int, known: str) -> Request:
        """Read the result of a run that has ended."""
        return self.request(number, "GET", f"/runs/{known}")

    def cases(self, known: str) -> list[Case]:
        """The kinds of requests; ``known`` is the requestId of a run that has ended."""
        return [
            Case("upload a function of 1 file", "gateway", 24, self.upload),
            Case("run a function, to its result", "gateway", 8, self.run),
            Case("read a result", "gateway", 200, lambda n: self.result(n, known)),
            Case("list 20 runs", "gateway", 100,
                 lambda n: self.request(n, "GET", "/runs?limit=20")),
        ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class SessionCalls:
    """Requests to one session, through the router or, with ``direct``, to its own port."""

    url: str
    direct: str
    path: str
    token: str

    def request(
        self, method: str, path: str, body: Json | None = None, url: str = "", status: int = 200
    ) -> Request:
        """A request, by default through the router."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        return Request((url or self.url) + self.path + path, method, data, headers, status)

    def health(self, _: int) -> Request:
        """The cheapest request that an agent answers."""
        return self.request("GET", "/health")

    def cases(self) -> list[Case]:
        """The kinds of requests."""
        tiny = {"code": "pass", "context": "bench"}
        # Without the pause, lines share events.
        lines = f"for i in range({EVENTS}): print(i, flush=True); time.sleep(0.005)"
        stream = {"code": f"import time\n{lines}", "stream": True, "context": "bench"}
        return [
            Case("GET /health of a session", "router", 200, self.health),
            Case("execution in a context", "router", 60,
                 lambda _: self.request("POST", "/execute", tiny)),
            Case("execution, 1 connection", "router", 30,
                 lambda _: self.request("POST", "/execute", tiny), 1),
            Case("the same without router", "", 30,
                 lambda _: self.request("POST", "/execute", tiny, self.direct), 1),
            Case(f"stream of {EVENTS} events", "router", 8,
                 lambda _: self.request("POST", "/execute", stream), 1),
        ]  # fmt: skip
