"""A session's agent and launcher as processes on this machine, and a client for its HTTP API."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

from nanogrid import names, wire
from nanogrid_executor.paths import Paths
from support.s3_server import BUCKET, S3Server, free_port, make_task
from support.waiting import WAIT_SECONDS, wait_until

TOKEN = "ngs_the-session-token"
RULES = wire.SessionRules(
    idle_timeout_seconds=300, max_lifetime_seconds=600, execution_timeout_seconds=30
)


def session_task(request_id: str, rules: wire.SessionRules = RULES, **changes: Any) -> wire.PodTask:
    """A session whose S3 is the tests' bucket."""
    outputs = wire.OutputRules(
        bucket=BUCKET, prefix=f"sessions/{request_id}/artifacts/", path="artifacts"
    )
    task = make_task(
        request_id=request_id, bucket=BUCKET, outputs=outputs, code_inline=None, session=rules
    )
    return replace(task, **changes)


def records(s3: S3Server, request_id: str) -> dict[int, dict[str, Any]]:
    """The records of a session that S3 has, by execution number."""
    prefix = f"sessions/{request_id}/debug/"
    found = s3.client.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
    loaded = [json.loads(s3.get(entry["Key"])) for entry in found]
    assert {entry["Key"] for entry in found} == {
        names.execution_object(request_id, record["execution_num"]) for record in loaded
    }
    return {record["execution_num"]: record for record in loaded}


class Client:
    """Sends requests with the session's token; each uses a new connection."""

    def __init__(self, port: int, token: str = TOKEN) -> None:
        self.port = port
        self.token = token

    def open(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> HTTPResponse:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=WAIT_SECONDS)
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        given = {"Authorization": f"Bearer {self.token}", **(headers or {})}
        connection.request(method, path, data, given)
        return connection.getresponse()

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """Status and JSON."""
        response = self.open(method, path, body, headers)
        data = response.read()
        return response.status, json.loads(data) if data else None

    def run(self, code: str, **more: Any) -> dict[str, Any]:
        status, answer = self.ask("POST", "/execute", {"code": code, **more})
        assert status == 200, answer
        run: dict[str, Any] = answer
        return run

    def health(self) -> tuple[int, str]:
        try:
            status, body = self.ask("GET", "/health")
        except OSError:
            return 0, "unreachable"
        return status, body["status"]


class SessionPod:
    """One pod; its containers can be stopped and started again."""

    def __init__(self, task: wire.PodTask, paths: Paths, launcher_dir: str, url: str) -> None:
        self.task = task
        self.paths = paths
        self.launcher_dir = launcher_dir
        self.url = url
        self.port = free_port()
        self.client = Client(self.port)
        self.log = Path(f"{paths.root}/agent.log")
        self.started: list[subprocess.Popen[bytes]] = []
        self.prepare()
        self.agent = self.start_agent()
        self.sandbox = self.start_sandbox()

    def prepare(self) -> None:
        """What the kubelet mounts."""
        token = Path(self.paths.real(names.SESSION_TOKEN_FILE))
        token.parent.mkdir(parents=True, exist_ok=True)
        token.write_text(TOKEN)

    def environment(self) -> dict[str, str]:
        """What the agent knows at its start."""
        return {names.ENV_TASK: wire.dumps(self.task)}

    def start_agent(self) -> "subprocess.Popen[bytes]":
        env = {**os.environ, **self.environment(), names.ENV_RESULTS_URL: self.url}
        command = [sys.executable, "-m", "nanogrid_executor", "agent"]
        command += ["--root", self.paths.root, "--session-port", str(self.port)]
        with self.log.open("ab") as log:
            self.agent = subprocess.Popen(command, env=env, stdout=log, stderr=log)
        self.started.append(self.agent)
        return self.agent

    def start_sandbox(self) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-I", "-S", self.launcher_dir, self.paths.socket]
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.sandbox = subprocess.Popen(
            command, env={"PATH": path}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.started.append(self.sandbox)
        return self.sandbox

    def wait_ready(self) -> None:
        wait_until(lambda: self.client.health() == (200, "healthy"))

    def wait_end(self) -> wire.Report:
        """Wait until both containers have ended; returns the report of the termination message."""
        assert self.agent.wait(WAIT_SECONDS) == 0, self.log.read_text()
        assert self.sandbox.wait(WAIT_SECONDS) == 0
        message = Path(self.paths.real(names.TERMINATION_FILE)).read_text()
        return wire.loads(wire.Report, message)

    def kill(self) -> None:
        """Kill all processes, whether the test passed or not."""
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.wait()


class PoolSessionPod(SessionPod):
    """A pod that waits in a pool; the server of its URL has its task."""

    def prepare(self) -> None:
        """There is no token before a session."""

    def environment(self) -> dict[str, str]:
        task = wire.PoolTask(namespace="default", pool="fast", session=True)
        return {names.ENV_POOL_TASK: wire.dumps(task)}


@contextmanager
def session_pod(
    task: wire.PodTask,
    paths: Paths,
    launcher_dir: str,
    url: str = "",
    kind: type[SessionPod] = SessionPod,
) -> Iterator[SessionPod]:
    """A running pod; the end of the block kills it."""
    pod = kind(task, paths, launcher_dir, url)
    try:
        yield pod
    finally:
        pod.kill()
