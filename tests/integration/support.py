"""What the executor's tests share: tasks, the S3 server's handle, ports."""

import os
import socket
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nanogrid import wire

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ACCESS_KEY = "test-access-key"
SECRET_KEY = "test-secret-key"
BUCKET = "user-data"

_given: set[int] = set()


def free_port() -> int:
    """A port that is free together with its gRPC port, 10,000 above."""
    for port in range(20_000 + os.getpid() % 5_000, 45_000):
        try:
            for number in (port, port + 10_000):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", number))
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
    """Output rules with the defaults of a job that says nothing of outputs."""
    rules = wire.OutputRules(bucket=bucket, prefix="outputs/r-1/", path="output")
    return replace(rules, **changes)


def make_task(**changes: Any) -> wire.Task:
    """A task for inline code; without S3 unless ``bucket`` and ``outputs`` are given."""
    task = wire.Task(
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
