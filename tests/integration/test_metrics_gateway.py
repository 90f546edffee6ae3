"""The metrics of a gateway process, as Prometheus reads them: exact values after known requests."""

import json
import socket
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from support.gateway_fixtures import MARKS
from support.gateway_results import result_of
from support.gateway_runs import CODE, subscribed
from support.gateway_world import Gateway, World, wait_for
from support.s3_server import free_port
from support.scraping import Scrape, scrape_port

pytestmark = MARKS

COUNT = "nanogrid_gateway_request_seconds_count"
REFUSED = "nanogrid_gateway_refused_total"
WAITS = "nanogrid_gateway_run_wait_seconds_count"
WAITING = "nanogrid_gateway_runs_waiting"
IN_FLIGHT = "nanogrid_gateway_requests_in_flight"
KUBE = "nanogrid_kubernetes_requests_total"


class Measured:
    """A gateway and its metrics."""

    def __init__(self, gateway: Gateway, port: int) -> None:
        self.gateway = gateway
        self.port = port

    def scraped(self) -> Scrape:
        return scrape_port(self.port)

    def reaches(self, value: float, name: str, **labels: str) -> None:
        """Wait until a series has a value: requests count after their answers."""
        wait_for(lambda: self.scraped().number(name, **labels) == value, f"{name} {labels} {value}")


@contextmanager
def measured(world: World, **settings: Any) -> Iterator[Measured]:
    port = free_port()
    with world.gateway(metrics_port=port, **settings) as gateway:
        yield Measured(gateway, port)


def raw(gateway: Gateway, data: bytes) -> socket.socket:
    """A connection that has sent these bytes."""
    client = socket.create_connection(("127.0.0.1", gateway.port), timeout=60)
    client.sendall(data)
    return client


def test_each_request_counts_once_under_its_pattern(world: World) -> None:
    with measured(world) as own:
        gateway = own.gateway
        function = str(gateway.upload(CODE, runtime="python").json["functionId"])
        request_id = str(uuid.uuid4())
        assert gateway.run(function, {"after": 0}, requestId=request_id).status == 200
        for _ in range(3):
            assert gateway.call("GET", f"/runs/{request_id}").status == 200
        assert gateway.call("GET", "/runs/none-such").status == 404
        assert gateway.call("GET", "/no/such/path").status == 404
        assert gateway.call("PUT", "/runs").status == 405
        assert gateway.run("f-none").status == 404
        assert gateway.events(f"/runs/{request_id}/logs")[-1][0] == "end"
        own.reaches(1, COUNT, route="/runs/{request_id}/logs", method="GET", code="200")
        found = own.scraped()

    counts = {
        (each["method"], each["route"], each["code"]): found.number(COUNT, **each)
        for each in found.labels(COUNT)
        if each["route"] != "/readyz"
    }
    assert counts == {
        ("POST", "/upload", "201"): 1,
        ("POST", "/run", "200"): 1,
        ("POST", "/run", "404"): 1,
        ("GET", "/runs/{request_id}", "200"): 3,
        ("GET", "/runs/{request_id}", "404"): 1,
        ("GET", "_other", "404"): 1,
        ("PUT", "_other", "405"): 1,
        ("GET", "/runs/{request_id}/logs", "200"): 1,
    }
    assert found.number(KUBE, verb="POST", code="201") == 2
    assert found.number("nanogrid_kubernetes_request_seconds_count", verb="POST") == 2
    refused = {each["reason"]: found.number(REFUSED, **each) for each in found.labels(REFUSED)}
    assert refused == {"RunNotFound": 1, "BadRequest": 2, "FunctionNotFound": 1}
    assert "# TYPE nanogrid_gateway_request_seconds histogram" in found.text
    assert found.total("nanogrid_build_info", component="gateway") == 1
    assert found.number(IN_FLIGHT) == 0


def test_waits_for_runs(world: World) -> None:
    with measured(world) as own:
        function = str(own.gateway.upload(CODE, runtime="python").json["functionId"])
        request_id = str(uuid.uuid4())
        later = subscribed(world, own.gateway, function, {}, request_id)
        own.reaches(1, WAITING)
        own.reaches(1, IN_FLIGHT)
        own.reaches(2, KUBE, verb="POST", code="201")
        world.operator.publish(result_of(world.cluster.job(request_id)))
        assert later.answer().status == 200
        own.reaches(1, WAITS)
        own.reaches(0, WAITING)

        # A client that leaves ends its wait.
        left = str(uuid.uuid4())
        body = json.dumps({"functionId": function, "requestId": left, "inputData": {}}).encode()
        head = f"POST /run HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        with closing(raw(own.gateway, head + body)):
            own.reaches(3, KUBE, verb="POST", code="201")
            own.reaches(1, WAITING)
        own.reaches(1, COUNT, route="/run", method="POST", code="499")
        own.reaches(0, WAITING)
        own.reaches(0, IN_FLIGHT)
        own.reaches(2, WAITS)

        # Without time to wait there is no wait.
        assert own.gateway.run(function, {}, wait=0).status == 202
        own.reaches(1, COUNT, route="/run", method="POST", code="202")
        assert own.scraped().number(WAITS) == 2


def test_refusals_before_and_after_routing(world: World) -> None:
    limits = {"read_seconds": 1, "max_connections": 3, "max_input_bytes": 1000}
    with measured(world, **limits) as own:
        assert own.gateway.run("f-1", "x" * 2000).status == 413
        own.reaches(1, REFUSED, reason="RequestTooLarge")
        with closing(raw(own.gateway, b"GARBAGE\r\n\r\n")) as client:
            assert b" 400 " in client.recv(100)
        own.reaches(1, COUNT, route="_other", method="_other", code="400")
        own.reaches(1, REFUSED, reason="BadRequest")
        with closing(raw(own.gateway, b"GET /runs HTTP/1.1\r\nX-Slow: ")) as client:
            assert b" 408 " in client.recv(100)
        own.reaches(2, REFUSED, reason="BadRequest")

    with measured(world, rate_per_second=0.001, rate_burst=2) as own:
        statuses = [own.gateway.call("GET", "/functions").status for _ in range(4)]
        assert statuses == [200, 200, 429, 429]
        own.reaches(2, REFUSED, reason="RateLimited")
        own.reaches(2, COUNT, route="/functions", method="GET", code="429")


def test_callers_without_a_token_are_counted(world: World) -> None:
    tokens = world.directory / "metrics-tokens"
    tokens.write_text("tests a-token-of-many-characters\n")
    with measured(world, auth_mode="tokens", auth_tokens_file=tokens) as own:
        assert own.gateway.call("GET", "/runs").status == 401
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        assert own.gateway.call("POST", "/web/sign-in", b"token=wrong", form).status in (401, 403)
        known = {"Authorization": "Bearer a-token-of-many-characters"}
        assert own.gateway.call("GET", "/runs", headers=known).status == 200
        wait_for(lambda: own.scraped().total(REFUSED) == 2, "both refusals")
        own.reaches(1, COUNT, route="/runs", method="GET", code="401")
        own.reaches(1, COUNT, route="/runs", method="GET", code="200")


def test_metrics_are_on_their_own_port_only(world: World) -> None:
    with measured(world) as own:
        assert own.gateway.call("GET", "/metrics").status == 404
        assert own.gateway.call("GET", "/metrics", headers={"Accept": "text/plain"}).status == 404
        assert own.scraped().number(COUNT, route="_other", method="GET", code="404") == 2
        with closing(socket.create_connection(("127.0.0.1", own.port), timeout=60)) as client:
            client.sendall(b"GET /runs HTTP/1.0\r\n\r\n")
            assert b" 404 " in client.recv(100)


def test_a_port_that_is_in_use_is_a_wrong_setting(world: World) -> None:
    with closing(socket.create_server(("", 0))) as taken:
        port = taken.getsockname()[1]
        gateway = Gateway(world, {"metrics_port": port})
        assert gateway.process.wait(60) == 2
    assert f"a setting is wrong: NANOGRID_METRICS_PORT is {port}: cannot listen" in gateway.log
    assert "Traceback" not in gateway.log
    assert "never awaited" not in gateway.log
