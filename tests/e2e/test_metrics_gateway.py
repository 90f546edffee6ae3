"""The metrics of gateway, router and egress proxy on the cluster grow with what clients do.

Other tests use the same pods at the same time, so values are compared with those before.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from e2e.sessions import SMALL, start
from examples.gateway_client import Gateway
from nanogrid import names
from scripts.devaccess import PortForward
from support.gateways import an_echo, send
from support.kubectl import Namespace, eventually, kubectl
from support.pod_metrics import ComponentMetrics, component_metrics
from support.release import IN_RELEASE, RELEASE, RELEASE_NAMESPACE
from support.sessions import session

TIMEOUT_SECONDS = 60
PROXY = f"{RELEASE}-egress"


@contextmanager
def growth(metrics: ComponentMetrics, *series: tuple[str, dict[str, str]]) -> Iterator[None]:
    """Each of these series is larger after the block than before it."""
    before = [metrics.total(name, **labels) for name, labels in series]
    yield
    for (name, labels), value in zip(series, before, strict=True):
        eventually(f"{name} {labels} > {value:g}", partial(_is_more, metrics, name, labels, value))


def _is_more(metrics: ComponentMetrics, name: str, labels: dict[str, str], value: float) -> bool:
    return metrics.total(name, **labels) > value


def counted(name: str, **labels: str) -> tuple[str, dict[str, str]]:
    return name, labels


def test_a_run_through_the_gateway_is_measured(gateway_url: str, gateway_token: str) -> None:
    requests = "nanogrid_gateway_request_seconds_count"
    gateway = Gateway(gateway_url, gateway_token)
    with component_metrics("gateway") as metrics, an_echo(gateway) as function:
        with growth(
            metrics,
            counted(requests, route="/run", method="POST", code="200"),
            counted("nanogrid_gateway_run_wait_seconds_count"),
            counted("nanogrid_kubernetes_requests_total", verb="POST", code="201"),
        ):
            assert gateway.run(function, {"name": "metrics"}, wait=60)["status"] == "SUCCESS"
        with growth(
            metrics,
            counted(requests, route="/runs/{request_id}", method="GET", code="401"),
            counted("nanogrid_gateway_refused_total", reason="Unauthorized"),
        ):
            assert send(gateway_url, "no-token", "GET", "/runs/some-run").status == 401
        assert send(gateway_url, gateway_token, "GET", "/metrics").status == 404
        assert metrics.total("nanogrid_build_info", component="gateway") >= 1


def test_a_session_call_through_the_router_is_measured(
    namespace: Namespace, router_url: str
) -> None:
    requests = "nanogrid_router_request_seconds_count"
    route = "/sessions/{namespace}/{name}/execute"
    with component_metrics("router") as metrics:
        caller, path, _ = start(namespace, router_url, session("measured", resources=SMALL))
        with growth(metrics, counted(requests, route=route, method="POST", code="200")):
            assert caller.execute(path, "print(6 * 7)")["stdout"] == "42\n"
        assert metrics.total("nanogrid_router_sessions") >= 1
        assert metrics.total("nanogrid_router_pods") >= 1
        assert metrics.total("nanogrid_kubernetes_requests_total", verb="STREAM", code="200") >= 2
        token, caller.token = caller.token, "ngs_wrong"
        caller.jar.clear()
        with growth(
            metrics,
            counted(requests, route=route, method="POST", code="401"),
            counted("nanogrid_router_refused_total", reason="Unauthorized"),
        ):
            assert caller.call("POST", f"{path}/execute", {"code": "1"}).status == 401
        caller.token = token
        assert caller.call("GET", "/metrics").status == 404


def test_a_refused_egress_connection_is_measured(cluster: None) -> None:
    if not kubectl(*IN_RELEASE, "get", "deploy", PROXY, "--ignore-not-found", "-o", "name"):
        pytest.skip("the release has no egress proxy (egressProxy.enabled)")
    service = PortForward(RELEASE_NAMESPACE, f"svc/{PROXY}", names.EGRESS_PROXY_PORT)
    with (
        component_metrics("egress") as metrics,
        service as forward,
        growth(
            metrics,
            counted("nanogrid_egress_refused_total", reason="Unauthorized"),
            counted("nanogrid_egress_connections_total", outcome="denied"),
        ),
        socket.create_connection(("127.0.0.1", forward.wait_ready()), TIMEOUT_SECONDS) as client,
    ):
        client.sendall(b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n")
        assert client.recv(100).split()[1] == b"407"
