"""A gateway process with a real Redis and S3 server, the small cluster, and its operator."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import redis

from nanogrid import wire
from nanogrid.tenancy import PLATFORM_STREAM, Area
from nanogrid.types import Json
from nanogrid_operator.delivery.redis import SCRIPT
from support.gateway_cluster import NAMESPACE, Cluster, serving
from support.gateway_results import finish, result_of
from support.s3_server import ACCESS_KEY, BUCKET, SECRET_KEY, S3Server, free_port

READY_SECONDS = 90
TIMEOUT = 60
# Longer than any test: an answer to a request that waits is due to a result or to the gateway's
# end, not to the end of the wait.
LONG_WAIT = 3600


class Redis:
    """A redis-server that tests stop and start."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--dir", str(self._directory), "--save", ""]
        with open(self._directory / "redis.log", "ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_for(self._listens, "redis-server")

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)
            self._process = None

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """It accepts connections and does not answer."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port, decode_responses=True, socket_timeout=TIMEOUT)


def wait_for(true: Any, what: str, seconds: float = READY_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if true():
            return
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds:g} s: {what}")


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes
    seconds: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def reason(self) -> str:
        return str(self.json["error"]["reason"])


class Operator:
    """Ends jobs as inputData specifies: {after, status, how, …}; ``how`` is the delivery."""

    def __init__(self, cluster: Cluster, server: Redis) -> None:
        self._cluster = cluster
        self._server = server
        self._timers: list[threading.Timer] = []
        cluster.on_create = self._start

    def close(self) -> None:
        for timer in self._timers:
            timer.cancel()
        for timer in self._timers:
            timer.join()  # one that runs still needs Redis

    def _start(self, job: Json) -> None:
        plan = json.loads(job["spec"].get("stdin", "null"))
        if not isinstance(plan, dict) or "after" not in plan:
            return
        if plan["after"] == 0:
            self._end(job, plan)  # before the answer to the gateway
            return
        timer = threading.Timer(plan["after"], self._end, (job, plan))
        timer.daemon = True
        timer.start()
        self._timers.append(timer)

    def _end(self, job: Json, plan: Json) -> None:
        known = {k: plan[k] for k in ("status", "reason", "exit_code", "stdout") if k in plan}
        result = result_of(job, **known)
        how = plan.get("how", "redis")
        if "redis" in how:
            self.publish(result)
        if "job" in how or how == "redis":
            finish(self._cluster, job, result)

    def publish(self, result: wire.Result, namespace: str = "") -> int:
        """Publish a result under the key of its namespace, or of another one."""
        area = Area.of(namespace or result.job.namespace, bucket="")
        key, text = area.result_key(result.request_id), wire.dumps(result)
        with self._server.client() as client:
            keys = [key, area.stream, PLATFORM_STREAM]
            arguments = [text, "86400", "1000", result.request_id, area.namespace, result.status]
            answer: Any = client.eval(SCRIPT, 3, *keys, *arguments, "", "1000000")
        return int(answer[2])


@dataclass
class World:
    """The surroundings of the gateways of one test module."""

    cluster: Cluster
    server: Redis
    operator: Operator
    s3: S3Server
    directory: Path
    kubeconfig: Path
    env: dict[str, str] = field(default_factory=dict)

    def channel(self, request_id: str) -> str:
        """The Redis key and channel of a run of the gateway's namespace."""
        return Area.of(NAMESPACE, bucket="").result_key(request_id)

    @contextmanager
    def gateway(
        self, variables: Mapping[str, str] | None = None, **settings: Any
    ) -> Iterator["Gateway"]:
        """A gateway process; the end of the block kills it, as a drain takes a second or more.

        ``variables`` are further ones of its environment.
        """
        gateway = Gateway(self, settings, variables or {})
        try:
            gateway.wait_ready()
            yield gateway
        finally:
            gateway.kill()


@contextmanager
def a_world(s3: S3Server) -> Iterator[World]:
    with ExitStack() as stack:
        directory = Path(tempfile.mkdtemp(prefix="gateway"))
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        server = Redis(directory)
        server.start()
        stack.callback(server.stop)
        cluster = Cluster()
        operator = Operator(cluster, server)
        stack.callback(operator.close)
        kubeconfig = stack.enter_context(serving(cluster, directory))
        yield World(cluster, server, operator, s3, directory, kubeconfig)


class Gateway:
    """One process; ``call`` opens a connection for each request."""

    def __init__(
        self,
        world: World,
        settings: dict[str, Any],
        variables: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.port = free_port()
        self._log = world.directory / f"gateway-{self.port}.log"
        given = {
            "namespace": NAMESPACE,
            "host": "127.0.0.1",
            "port": self.port,
            "s3_endpoint": world.s3.endpoint,
            "s3_bucket": BUCKET,
            "redis_url": f"redis://127.0.0.1:{world.server.port}/0",
            "redis_timeout_seconds": 20,
            "wait_seconds": LONG_WAIT,
            "max_wait_seconds": LONG_WAIT,
            "auth_mode": "none",
            "rate_per_second": 10_000,
            "rate_burst": 10_000,
            "max_concurrent": 1000,
        } | settings
        env = {f"NANOGRID_{key.upper()}": str(value) for key, value in given.items()}
        env |= {
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "KUBECONFIG": str(world.kubeconfig),
            "HOME": str(world.directory),
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(sys.path),
            **variables,
        }
        with open(self._log, "wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "nanogrid_gateway.server"], env=env, stdout=log, stderr=log
            )

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def wait_ready(self) -> None:
        def ready() -> bool:
            assert self.process.poll() is None, self.log[-3000:]
            try:
                answer = self.call("GET", "/readyz")
            except (OSError, http.client.HTTPException):
                return False
            return answer.status == 200 and not answer.json["warnings"]

        try:
            wait_for(ready, "the gateway")
        except AssertionError as e:
            raise AssertionError(f"{e}\n{self.log[-3000:]}") from e

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(20)

    def call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        timeout: float = TIMEOUT,
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        started = time.monotonic()
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read(), time.monotonic() - started)
        finally:
            connection.close()

    def post(self, path: str, body: Any, headers: dict[str, str] | None = None) -> Answer:
        given = {"Content-Type": "application/json"} | (headers or {})
        return self.call("POST", path, json.dumps(body).encode(), given)

    def run(self, function_id: str, plan: Any = None, **more: Any) -> Answer:
        return self.post("/run", {"functionId": function_id, "inputData": plan, **more})

    def upload(
        self,
        archive: bytes,
        headers: dict[str, str] | None = None,
        filename: str = "c.zip",
        **fields: str,
    ) -> Answer:
        boundary = "nanogrid-test-boundary"
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n'.encode()
            for k, v in fields.items()
        ]
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; '
        head += f'filename="{filename}"\r\n'
        parts.append(head.encode() + b"Content-Type: application/zip\r\n\r\n" + archive + b"\r\n")
        body = b"".join(parts) + f"--{boundary}--\r\n".encode()
        given = {"Content-Type": f"multipart/form-data; boundary={boundary}"} | (headers or {})
        return self.call("POST", "/upload", body, given)

    def events(self, path: str) -> list[tuple[str, Any]]:
        """The events of a stream that ends."""
        text = self.call("GET", path).body.decode()
        found = []
        for block in text.strip().split("\n\n"):
            lines = dict(line.split(": ", 1) for line in block.splitlines() if line[0] != ":")
            if lines:
                found.append((lines["event"], json.loads(lines["data"])))
        return found


def quoted(text: str) -> str:
    return urllib.parse.quote(text)
