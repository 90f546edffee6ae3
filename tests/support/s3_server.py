"""What the executor's tests share: tasks, the S3 server's handle, ports."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from nanogrid import wire

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ACCESS_KEY = "test-access-key"
SECRET_KEY = "test-secret-key"
BUCKET = "user-data"
READY_SECONDS = 120
TRY_SECONDS = 10  # of one request to a server that starts
ANSWER_SECONDS = 60
PORTS = range(11_000, 21_000)

_given: set[int] = set()


def free_port() -> int:
    """A port that is free together with its gRPC port, 10,000 above.

    The kernel gives neither of them to an outgoing connection. So the port stays free until its
    server listens, and while its server is stopped.
    """
    begin = os.getpid() * 97 % len(PORTS)  # the processes of one run have neighbouring PIDs
    candidates: list[int] = [*PORTS[begin:], *PORTS[:begin]]
    for port in candidates:
        try:
            for number in (port, port + 10_000):
                with socket.socket() as probe:
                    probe.bind(("", number))
        except OSError:
            continue
        if port not in _given:
            _given.add(port)
            return port
    raise RuntimeError("no free port")


@dataclass(frozen=True)
class S3Server:
    """A running SeaweedFS and a client for it."""

    endpoint: str
    client: "S3Client"

    def put(self, key: str, body: bytes) -> None:
        self.client.put_object(Bucket=BUCKET, Key=key, Body=body)

    def get(self, key: str) -> bytes:
        return self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()

    def delete(self, prefix: str) -> None:
        """Remove all objects below a prefix."""
        while found := self.client.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents"):
            self.client.delete_objects(
                Bucket=BUCKET, Delete={"Objects": [{"Key": entry["Key"]} for entry in found]}
            )


def make_rules(bucket: str = BUCKET, **changes: Any) -> wire.OutputRules:
    """Output rules with the defaults of a job without a setting for outputs."""
    rules = wire.OutputRules(bucket=bucket, prefix="outputs/r-1/", path="output")
    return replace(rules, **changes)


def make_task(**changes: Any) -> wire.PodTask:
    """A task for inline code; without S3 unless ``bucket`` and ``outputs`` are given."""
    task = wire.PodTask(
        namespace="default",
        job="hello",
        uid="0b6d",
        attempt=1,
        request_id="r-1",
        execution_timeout_seconds=30.0,
        termination_grace_seconds=1.0,
        command=["python3", "main.py"],
        bucket="",
        outputs=make_rules(bucket=""),
        code_inline="print('hello')",
        memory_limit_bytes=256 * 1024 * 1024,
    )
    return replace(task, **changes)


@contextmanager
def running_server(*options: str) -> Iterator[S3Server]:
    """A SeaweedFS in a directory of its own, with further options."""
    directory = tempfile.mkdtemp(prefix="weed")
    ports = {name: free_port() for name in ("s3", "master", "volume", "filer", "admin")}
    command = [
        "weed",
        f"-logdir={directory}",
        "mini",
        f"-dir={directory}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
    ]
    command += [f"-{name}.port={port}" for name, port in ports.items()]
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-webdav=false", "-admin.ui=false"]
    command += ["-master.telemetry=false", f"-bucket={BUCKET}", *options]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {
        "PATH": path,
        "HOME": directory,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
    }
    with open(f"{directory}.log", "wb") as log:
        process = subprocess.Popen(command, cwd=directory, env=env, stdout=log, stderr=log)
    try:
        yield _when_ready(process, f"http://127.0.0.1:{ports['s3']}", f"{directory}.log")
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(directory, ignore_errors=True)
        os.unlink(f"{directory}.log")


def _client(endpoint: str, seconds: float) -> "S3Client":
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        config=Config(retries={"max_attempts": 0}, connect_timeout=seconds, read_timeout=seconds),
    )


def _when_ready(process: "subprocess.Popen[bytes]", endpoint: str, log: str) -> S3Server:
    client = _client(endpoint, TRY_SECONDS)
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            client.put_object(Bucket=BUCKET, Key="ready", Body=b"yes")
            return S3Server(endpoint, _client(endpoint, ANSWER_SECONDS))
        except (BotoCoreError, ClientError):
            time.sleep(0.1)
    raise RuntimeError(f"SeaweedFS did not start: {Path(log).read_text()[-2000:]}")
