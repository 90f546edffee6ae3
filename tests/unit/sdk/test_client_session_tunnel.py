"""Sessions outside the cluster: the tunnel to the pod, and the router where there is none."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from nanogrid.cli.http_serving import serving
from nanogrid.client import Client, Expired
from nanogrid.client.errors import hint_of
from nanogrid.reasons import HELP, Reason
from nanogrid.types import Json
from support.client_server import FakeApi, failure
from support.client_session_server import FakeSession, ready_session

POD = "s-pod"


@pytest.fixture
def remote() -> Iterator[FakeSession]:
    with serving(FakeSession()) as server:
        yield server


@pytest.fixture
def tunnel(api: FakeApi, remote: FakeSession, monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    """The API server; the pod of each session is behind it."""
    monkeypatch.delenv("NANOGRID_ROUTER_URL", raising=False)
    api.pods.ports[POD] = remote.server_port
    api.operator = lambda store, path, job: ready_session(
        store, job["metadata"]["name"], podName=POD
    )
    return api


def no_kubectl(*_: Any) -> Any:
    pytest.fail("kubectl is not needed")


def test_outside_the_cluster_a_tunnel_leads_to_the_pod(
    client: Client, tunnel: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nanogrid.client.sessions.connection.port_forward", no_kubectl)
    with client.session(name="s") as session:
        begin = len(tunnel.requests)
        assert session.execute("print(1)").stdout == "1\n"
        assert session.files.write("a", b"x" * 100_000).bytes == 100_000
        assert len(tunnel.requests) == begin  # the connection is reused
    assert tunnel.pods.opened[0].endswith("/namespaces/team/pods/s-pod/portforward?ports=9080")


@pytest.mark.parametrize("cut", [0, 1, 300])
def test_a_broken_tunnel_is_opened_again_and_runs_nothing_twice(
    client: Client, tunnel: FakeApi, remote: FakeSession, cut: int
) -> None:
    with client.session(name="s") as session:
        tunnel.pods.cut_after = cut
        texts: list[str] = []
        code = "n = globals().get('n', 0) + 1; print(n)"
        assert session.execute(code, on_stdout=texts.append).stdout == "1\n"
        assert texts == ["1\n"]
        assert len(remote.answers) == 1
    assert len(tunnel.pods.opened) == 2


@pytest.mark.parametrize("problem", ["refused", "no listener", "no upgrade"])
def test_where_the_tunnel_does_not_work_the_way_is_the_router(
    client: Client,
    tunnel: FakeApi,
    remote: FakeSession,
    monkeypatch: pytest.MonkeyPatch,
    problem: str,
) -> None:
    @contextmanager
    def forward(cluster: Any, namespace: str, target: str, port: int) -> Iterator[int]:
        yield remote.server_port

    monkeypatch.setattr("nanogrid.client.sessions.connection.port_forward", forward)
    session = client.session(name="s")
    session.run.until(lambda: bool(session.run.status.get("podName")), 10)
    answers = {
        "refused": failure(403, "Forbidden", "pods/portforward is forbidden"),
        "no upgrade": (200, {}),
    }
    if problem == "no listener":
        tunnel.pods.ports[POD] = free_port()
    original = client.cluster.get

    def get(path: str) -> Json:
        found = original(path)
        if path.endswith("/s-s") and problem in answers:  # the next request opens the tunnel
            tunnel.refusals.put(answers[problem])
        return found

    monkeypatch.setattr(client.cluster, "get", get)
    assert session.execute("print(1)").stdout == "1\n"


def test_a_session_without_a_pod_has_ended(client: Client, tunnel: FakeApi) -> None:
    session = client.session(name="s").ready()
    tunnel.pods.ports.clear()
    tunnel.pods.cut_after = 0
    tunnel.finish(tunnel.job_path("s"), reason="IdleTimeout", message="Idle for 60 s.")
    with pytest.raises(Expired, match=r"session s has ended: Idle for 60 s\.") as caught:
        session.execute("1")
    assert caught.value.reason == "IdleTimeout"


def test_an_ended_session_that_is_attached_raises_its_reason(
    client: Client, tunnel: FakeApi
) -> None:
    client.session(name="s").ready().close()
    path = tunnel.job_path("s")
    tunnel.finish(path, reason="IdleTimeout", message="Idle for 60 s.")
    job = tunnel.objects[path]
    tunnel.put(path, job | {"status": job["status"] | {"session": {"url": "u"}}})
    with pytest.raises(Expired, match="has ended") as caught:
        client.attach("s").execute("1")
    assert caught.value.reason == "IdleTimeout"


def test_the_message_of_an_ended_session_has_one_hint(client: Client, tunnel: FakeApi) -> None:
    client.session(name="s").ready().close()
    path = tunnel.job_path("s")
    message = f"It was stopped. {HELP[Reason.CANCELLED].hint}"
    tunnel.finish(path, reason="Cancelled", message=message)
    job = tunnel.objects[path]
    tunnel.put(path, job | {"status": job["status"] | {"session": {"url": "u"}}})
    with pytest.raises(Expired) as caught:
        client.attach("s").execute("1")
    assert caught.value.message == "session s has ended: It was stopped."
    assert caught.value.hint == hint_of("Cancelled")


def free_port() -> int:
    """A port without a listener."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
