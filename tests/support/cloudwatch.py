"""CloudWatch for tests: moto's server, and one that is away, slow or refuses."""

import contextlib
import logging
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import ThreadingHTTPServer
from typing import Any

import boto3

from nanogrid.cli.http_serving import QuietHandler, serving
from support.s3_server import free_port

REGION = "eu-central-1"
NAMESPACE = "NanoGrid"
KEYS = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}


def api_environment(endpoint: str, interval: float = 3600) -> dict[str, str]:
    """The settings of an operator that sends to this endpoint."""
    return KEYS | {
        "NANOGRID_CLOUDWATCH_MODE": "api",
        "NANOGRID_CLOUDWATCH_ENDPOINT": endpoint,
        "NANOGRID_CLOUDWATCH_REGION": REGION,
        "NANOGRID_CLOUDWATCH_DIMENSIONS": '{"Cluster": "prod"}',
        "NANOGRID_CLOUDWATCH_INTERVAL_SECONDS": str(interval),
    }


@dataclass(frozen=True)
class MotoCloudWatch:
    """A running server of moto."""

    endpoint: str

    def statistics(self, metric: str, function: str, **own: str) -> dict[str, float]:
        """Sum, SampleCount, Maximum of a metric of this hour; empty if it has no values."""
        named = {"Namespace": "team-a", "Function": function, **own}
        now = datetime.now(UTC)
        answer = self.client.get_metric_statistics(
            Namespace=NAMESPACE,
            MetricName=metric,
            Dimensions=[{"Name": name, "Value": value} for name, value in named.items()],
            StartTime=now - timedelta(hours=1),
            EndTime=now + timedelta(hours=1),
            Period=60,
            Statistics=["Sum", "SampleCount", "Maximum"],
        )
        points: list[dict[str, Any]] = answer["Datapoints"]
        if not points:
            return {}
        return {
            "Sum": sum(p["Sum"] for p in points),
            "SampleCount": sum(p["SampleCount"] for p in points),
            "Maximum": max(p["Maximum"] for p in points),
        }

    def metrics(self) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
        """Name and dimensions of all metrics."""
        pages = self.client.get_paginator("list_metrics").paginate(Namespace=NAMESPACE)
        return {
            (one["MetricName"], tuple((d["Name"], d["Value"]) for d in one["Dimensions"]))
            for page in pages
            for one in page["Metrics"]
        }

    @property
    def client(self) -> Any:
        """A client of boto3 for it."""
        session: Any = boto3.Session(
            aws_access_key_id="x", aws_secret_access_key="x", region_name=REGION
        )
        return session.client("cloudwatch", endpoint_url=self.endpoint)


@contextmanager
def moto_cloudwatch() -> Iterator[MotoCloudWatch]:
    """A server without data."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from moto.server import ThreadedMotoServer
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    port = free_port()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    try:
        yield MotoCloudWatch(f"http://127.0.0.1:{port}")
    finally:
        server.stop()
        from moto.backends import get_backend

        get_backend("cloudwatch").reset()


@dataclass
class Trouble:
    """What the server answers; tests change it while it runs."""

    status: int = 200
    code: str = ""
    pause: Callable[[], bool] = lambda: False  # whether it still waits before it answers
    raw: bytes | None = None  # in place of an answer
    requests: int = 0


class FakeCloudWatch(ThreadingHTTPServer):
    """It answers each request as its ``trouble`` says."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.trouble = Trouble()
        self.endpoint = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        return  # a client that does not wait for the answer


class _Handler(QuietHandler):
    server: FakeCloudWatch

    def do_POST(self) -> None:
        trouble = self.server.trouble
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        trouble.requests += 1
        while trouble.pause():
            time.sleep(0.01)
        body = b"{}"
        if trouble.status != 200:
            body = b'{"__type": "%s", "message": "secret-text"}' % trouble.code.encode()
        if trouble.raw is not None:
            body = trouble.raw
        with contextlib.suppress(OSError):
            self.send_response(trouble.status)
            if trouble.raw is None:
                self.send_header("x-amzn-RequestId", "00000000-0000-0000-0000-000000000000")
            self.send_header("Content-Type", "application/x-amz-json-1.0")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)


@contextmanager
def fake_cloudwatch() -> Iterator[FakeCloudWatch]:
    """A server that accepts everything, until its trouble is changed."""
    with FakeCloudWatch() as server, serving(server):
        yield server
