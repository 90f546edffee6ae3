"""A collector of OpenTelemetry for tests: takes OTLP over HTTP and keeps the spans.

It also runs as a program, in a pod: ``python otlp_receiver.py PORT`` prints each span as a line of
JSON. Then it needs the package opentelemetry-proto, which the image of the operator has.
"""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

PATH = "/v1/traces"
WAIT_SECONDS = 60.0
MAX_BODY = 64 << 20
CHUNK = b"x" * 65536
KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
ERROR = 2  # of the status of a span


@dataclass(frozen=True)
class ReceivedSpan:
    """One span; ids are hex, times are in seconds since the epoch."""

    service: str
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent: str  # empty: none
    state: str
    start: float
    end: float
    error: str  # the description of the status, if it is an error
    attributes: dict[str, Any]
    resource: dict[str, Any]
    events: list[tuple[str, float, dict[str, Any]]] = field(default_factory=list)


def parsed(body: bytes) -> list[ReceivedSpan]:
    """The spans of a request.

    Raises:
        DecodeError: it is not protobuf.
    """
    found = []
    request = ExportTraceServiceRequest.FromString(body)
    for group in request.resource_spans:
        resource = _attributes(group.resource.attributes)
        for scope in group.scope_spans:
            found += [_span(one, resource) for one in scope.spans]
    return found


def _span(one: Any, resource: dict[str, Any]) -> ReceivedSpan:
    return ReceivedSpan(
        service=str(resource.get("service.name")),
        name=one.name,
        kind=KINDS[one.kind],
        trace_id=one.trace_id.hex(),
        span_id=one.span_id.hex(),
        parent=one.parent_span_id.hex(),
        state=one.trace_state,
        start=one.start_time_unix_nano / 1e9,
        end=one.end_time_unix_nano / 1e9,
        error=(one.status.message or "error") if one.status.code == ERROR else "",
        attributes=_attributes(one.attributes),
        resource=resource,
        events=[(e.name, e.time_unix_nano / 1e9, _attributes(e.attributes)) for e in one.events],
    )


def _attributes(items: Any) -> dict[str, Any]:
    kinds = {one.key: (one.value, one.value.WhichOneof("value")) for one in items}
    return {key: getattr(value, kind) for key, (value, kind) in kinds.items() if kind}


class Receiver:
    """Spans that came, and how the next requests are answered."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.requests: list[dict[str, str]] = []  # their headers, with the path
        self.status = 200
        self.answer: Callable[[BaseHTTPRequestHandler], None] | None = None  # instead of a status
        self._spans: list[ReceivedSpan] = []
        self._changed = threading.Condition()

    @property
    def url(self) -> str:
        """For OTEL_EXPORTER_OTLP_ENDPOINT."""
        return f"http://127.0.0.1:{self.port}"

    def environment(self) -> dict[str, str]:
        """The variables of a process that sends to it at once."""
        return {
            "NANOGRID_TRACING": "true",
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.url,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }

    def spans(self, **wanted: str) -> list[ReceivedSpan]:
        """What came so far, with these fields."""
        with self._changed:
            known = list(self._spans)
        return [s for s in known if all(getattr(s, k) == v for k, v in wanted.items())]

    def wait_for(
        self,
        enough: Callable[[list[ReceivedSpan]], Any],
        seconds: float = WAIT_SECONDS,
        **wanted: str,
    ) -> list[ReceivedSpan]:
        """Wait until the spans with these fields are enough; returns them."""
        deadline = time.monotonic() + seconds
        while not enough(found := self.spans(**wanted)):
            with self._changed:
                left = deadline - time.monotonic()
                if left <= 0:
                    names = sorted(span.name for span in self._spans)
                    raise AssertionError(f"not within {seconds:g} s; got {names}, {len(found)} fit")
                self._changed.wait(min(left, 0.5))
        return found

    def wait_for_requests(self, count: int, seconds: float = WAIT_SECONDS) -> None:
        """Wait until this number of requests has come."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.requests) >= count, seconds), (
                f"{len(self.requests)} of {count} requests within {seconds:g} s"
            )

    def take(self, headers: dict[str, str], spans: list[ReceivedSpan]) -> None:
        """A request has come."""
        with self._changed:
            self.requests.append(headers)
            self._spans += spans
            self._changed.notify_all()


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(min(int(self.headers["Content-Length"]), MAX_BODY))
            good = receiver.answer is None and receiver.status < 400 and self.path == PATH
            headers = {"path": self.path, **{k.lower(): v for k, v in self.headers.items()}}
            receiver.take(headers, parsed(body) if good else [])
            if receiver.answer is not None:
                receiver.answer(self)
                return
            content = ExportTraceServiceResponse().SerializeToString()
            self.send_response(receiver.status if self.path == PATH else 404)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            """Tests read spans, not accesses."""

    return Handler


def endless(handler: BaseHTTPRequestHandler) -> None:
    """A body without an end."""
    handler.send_response(200)
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(CHUNK)
    except OSError:
        handler.close_connection = True


def nonsense(handler: BaseHTTPRequestHandler) -> None:
    """Bytes that are no HTTP."""
    handler.wfile.write(b"\x00\xff\x16\x03 no HTTP\r\n\r\n")
    handler.close_connection = True


def hanging(until: threading.Event) -> Callable[[BaseHTTPRequestHandler], None]:
    """No answer until the event."""

    def wait(handler: BaseHTTPRequestHandler) -> None:
        until.wait()
        handler.close_connection = True

    return wait


@contextmanager
def otlp_receiver(port: int = 0, host: str = "127.0.0.1") -> Iterator[Receiver]:
    """A collector; port 0 takes a free one."""
    receiver = Receiver(port)

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Clients break connections on purpose."""

    server = Server((host, port), _handler(receiver))
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def from_line(line: str) -> ReceivedSpan:
    """A span that the program has printed."""
    return ReceivedSpan(**json.loads(line))


def main() -> None:
    """Print the spans that come, one per line."""
    with otlp_receiver(int(sys.argv[1]), "") as receiver:
        printed = 0
        print("ready", flush=True)
        while True:
            found = receiver.spans()
            for span in found[printed:]:
                print(json.dumps(asdict(span)), flush=True)
            printed = len(found)
            time.sleep(0.2)


if __name__ == "__main__":
    main()
