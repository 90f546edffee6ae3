"""What ``session exec`` costs: requests to the API server, and no other program."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nanogrid.cli.app import command
from nanogrid.cli.http_serving import serving
from nanogrid.cli.main import app
from nanogrid.client import Client
from support.client_server import FakeApi
from support.client_session_server import FakeSession, ready_session

POD = "s-pod"
TEAM = "/api/v1/namespaces/team"


@pytest.fixture
def remote(
    api: FakeApi, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FakeSession]:
    """A ready session ``s`` outside this cluster, on a machine without kubectl."""
    server = FakeSession()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(command, "make_client", lambda *_: Client(cluster=api.cluster()))
    api.operator = lambda store, path, job: ready_session(store, "s", podName=POD)
    api.pods.ports[POD] = server.server_port
    with serving(server):
        client.session(name="s").ready().close()
        yield server


def test_an_execution_needs_three_requests_to_the_api_server(
    api: FakeApi, remote: FakeSession
) -> None:
    for code, printed in (("x = 41", ""), ("print(x + 1)", "42\n")):
        api.requests.clear()
        remote.requests.clear()
        done = CliRunner().invoke(app, ["session", "exec", "s", code])
        assert (done.exit_code, done.stdout, done.stderr) == (0, printed, "")
        assert api.requests == [
            ("GET", api.job_path("s")),
            ("GET", f"{TEAM}/secrets/s-s"),
            ("GET", f"{TEAM}/pods/{POD}/portforward?ports=9080"),
        ]
        assert remote.requests == [("GET", "/health"), ("POST", "/execute")]


def test_a_shell_keeps_its_connection(api: FakeApi, remote: FakeSession) -> None:
    api.pods.opened.clear()
    lines = "x = 1\n!ls\nprint(x)\n"
    done = CliRunner().invoke(app, ["session", "shell", "s"], input=lines)
    assert done.exit_code == 0, done.stderr
    assert len(api.pods.opened) == 1
    assert remote.requests.count(("POST", "/execute")) == 3
