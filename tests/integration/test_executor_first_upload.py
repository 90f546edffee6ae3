"""S3 may refuse a new pod for a moment after the operator accepts it: nothing is lost then."""

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from nanogrid import names
from nanogrid_executor.paths import Paths
from support.executor_pod import operator, running
from support.gate_ports import Port
from support.s3_server import BUCKET, S3Server, free_port, make_task
from support.waiting import wait_until

pytestmark = pytest.mark.integration

# Longer than both tries of a result, which are half a second apart.
REFUSED_SECONDS = 1.2


def copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # the other side has closed


@contextmanager
def forwarding(port: int, target: tuple[str, int]) -> Iterator[None]:
    """Connections to a port of this machine go to the target."""
    listener = socket.create_server(("127.0.0.1", port))

    def serve() -> None:
        while True:
            try:
                accepted, _ = listener.accept()
            except OSError:
                return  # closed
            other = socket.create_connection(target)
            for pair in ((accepted, other), (other, accepted)):
                threading.Thread(target=copy, args=pair, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def test_a_result_is_stored_when_s3_accepts_the_pod_later(
    s3: S3Server, paths: Paths, launcher_dir: str, denied: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, _, port = s3.endpoint.removeprefix("http://").partition(":")
    late = free_port()
    monkeypatch.setenv(names.ENV_S3_ENDPOINT, f"http://127.0.0.1:{late}")
    code = "open('started', 'w').close()"
    task = make_task(code_inline=code, gate_port=denied.number, bucket=BUCKET)
    with operator() as endpoint, running(task, paths, launcher_dir, url=endpoint.url) as pod:
        wait_until(lambda: os.path.exists(f"{paths.workspace}/started"))
        threading.Event().wait(REFUSED_SECONDS)
        with forwarding(late, (host, int(port))):
            ended = pod.wait()
    assert "s3-first-connection" in ended.agent_log
    assert "not-stored" not in ended.agent_log
    assert json.loads(s3.get(names.result_object(task.request_id)))["status"] == "SUCCESS"
