"""Access the chart's devServices (S3 and Redis in the cluster) from this machine.

For demo, tests and exploration only, never for real jobs. `kubectl port-forward` opens a local port
for each service. The credentials come from the release's Secret:

    with dev_access() as access:
        access.s3.list_objects_v2(Bucket=access.bucket)
        access.redis().get(access.area("my-namespace").result_key("my-request"))

A port-forward is bound to one pod: after a restart of Redis or S3, enter ``dev_access`` again.
Command line: `uv run python scripts/devaccess.py --help`.
"""

import argparse
import base64
import json
import mimetypes
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import boto3
import redis
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from nanogrid.client.errors import InvalidRequest
from nanogrid.client.jobs.packing import zip_directory
from nanogrid.tenancy import Area

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

RELEASE: Final = "nanogrid"
NAMESPACE: Final = "nanogrid-system"
BUCKET: Final = "nanogrid"
S3_PORT: Final = 8333
REDIS_PORT: Final = 6379
ADMIN: Final = "default"  # Redis user with all rights, for tests and exploration
READY_SECONDS: Final = 30.0
RETRY_SECONDS: Final = 0.3
POLL_SECONDS: Final = 0.01
OUTPUT_BYTES: Final = 1 << 16  # the port is in the first line
KUBECTL_SECONDS: Final = 20.0
FORWARDING: Final = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+) -> ")
NO_CLUSTER: Final = (
    "connection refused",
    "was refused",
    "no such host",
    "i/o timeout",
    "Unable to connect",
    "current-context is not set",
    "context was not found",
)


class AccessError(Exception):
    """The devServices are not reachable; the message has the cause and a fix."""


@dataclass
class DevAccess:
    """An S3 client for the dev bucket, and a factory of Redis clients; ``secret`` has all keys."""

    s3: "S3Client"
    bucket: str
    s3_endpoint: str
    redis_port: int
    secret: dict[str, str] = field(repr=False)
    compatibility_namespace: str
    _stack: ExitStack = field(repr=False)

    def redis(self, **options: Any) -> redis.Redis:
        """Create a Redis client; it is closed when the access ends."""
        settings: dict[str, Any] = {"socket_timeout": 10, "socket_connect_timeout": 5}
        settings |= {"decode_responses": True, "username": ADMIN}
        settings |= {"password": self.secret["adminPassword"]} | options
        client = redis.Redis(host="127.0.0.1", port=self.redis_port, **settings)
        self._stack.callback(client.close)
        return client

    def area(self, namespace: str) -> Area:
        """The Redis names of a namespace."""
        return Area.of(
            namespace, bucket=self.bucket, compatibility_namespace=self.compatibility_namespace
        )


def kubectl(*args: str, stdin: str | None = None, timeout: float = KUBECTL_SECONDS) -> str:
    """Run kubectl and return its output.

    Raises:
        AccessError: it failed. If no cluster responds, the message is one line.
    """
    command = ["kubectl", f"--request-timeout={max(1, int(timeout) - 1)}s", *args]
    try:
        done = subprocess.run(
            command, input=stdin, text=True, capture_output=True, timeout=timeout, check=False
        )
    except FileNotFoundError:
        raise AccessError("kubectl is not on the PATH; `make cluster-up` installs it") from None
    except subprocess.TimeoutExpired:
        raise AccessError(f"no response within {timeout:.0f} s: kubectl {' '.join(args)}") from None
    if done.returncode != 0:
        stderr = done.stderr.strip()
        if any(sign in stderr for sign in NO_CLUSTER):
            last = stderr.splitlines()[-1]
            raise AccessError(f"no cluster responds; run `make cluster-up` (kubectl: {last})")
        raise AccessError(f"kubectl {' '.join(args[:4])}: {stderr or done.returncode}")
    return done.stdout


@contextmanager
def dev_access(
    release: str = RELEASE, namespace: str = NAMESPACE, bucket: str = BUCKET
) -> Iterator[DevAccess]:
    """S3 and Redis of a release with devServices, until the context ends.

    Raises:
        AccessError: there is no cluster or no such release, or its services do not run.
    """
    # The same rule as nanogrid.fullname of the chart.
    name = release if "nanogrid" in release else f"{release}-nanogrid-operator"
    secret = _secret(f"{name}-dev", release, namespace)
    compatibility = _compatibility_namespace(name, namespace)
    with ExitStack() as stack:
        forwards = [
            stack.enter_context(PortForward(namespace, f"svc/{name}-dev-{service}", port))
            for service, port in (("s3", S3_PORT), ("redis", REDIS_PORT))
        ]
        s3_port, redis_port = [forward.wait_ready() for forward in forwards]
        endpoint = f"http://127.0.0.1:{s3_port}"
        client = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id=secret["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=secret["AWS_SECRET_ACCESS_KEY"],
            config=Config(
                connect_timeout=5,
                read_timeout=30,
                retries={"mode": "standard", "total_max_attempts": 3},
                s3={"addressing_style": "path"},
                proxies={},  # a proxy cannot reach local ports
            ),
        )
        stack.callback(client.close)
        yield DevAccess(
            s3=client,
            bucket=bucket,
            s3_endpoint=endpoint,
            redis_port=redis_port,
            secret=secret,
            compatibility_namespace=compatibility,
            _stack=stack,
        )


def _secret(name: str, release: str, namespace: str) -> dict[str, str]:
    """Read and decode the Secret of the devServices."""
    try:
        output = kubectl("-n", namespace, "get", "secret", name, "-o", "json")
    except AccessError as error:
        if "NotFound" not in str(error):
            raise
        raise AccessError(
            f"no Secret {name} in namespace {namespace}: release {release} is not installed there "
            "with devServices.enabled; run `make deploy`"
        ) from None
    data: dict[str, str] = json.loads(output)["data"]
    return {key: base64.b64decode(value).decode() for key, value in data.items()}


def _compatibility_namespace(deployment: str, namespace: str) -> str:
    """The namespace with the names of the older form, which the operator knows."""
    text = kubectl("-n", namespace, "get", "deployment", deployment, "-o", "json")
    (operator,) = json.loads(text)["spec"]["template"]["spec"]["containers"]
    values = {e["name"]: e.get("value", "") for e in operator["env"]}
    return str(values.get("NANOGRID_COMPATIBILITY_NAMESPACE", ""))


class PortForward:
    """Runs `kubectl port-forward` to a port of a Service; kubectl chooses the local port."""

    def __init__(self, namespace: str, target: str, port: int) -> None:
        self._target = f"{target} in namespace {namespace}"
        self._command = ["kubectl", "-n", namespace, "port-forward", "--address=127.0.0.1"]
        self._command += [target, f":{port}"]
        self._process: subprocess.Popen[bytes] | None = None
        # No thread reads what kubectl prints: at the exit of the interpreter it could hold a lock.
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 open as long as kubectl

    def __enter__(self) -> "PortForward":
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def wait_url(self) -> str:
        """Wait until the port accepts connections; returns the URL of its HTTP server."""
        return f"http://127.0.0.1:{self.wait_ready()}"

    def wait_ready(self) -> int:
        """Wait until the port accepts connections; returns the local port."""
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            ended = self._process is None or self._process.poll() is not None
            printed = self._printed()
            if found := FORWARDING.search(printed):
                return int(found[1])
            if ended:
                # The pod may still be starting, so retry until the deadline.
                self._stop()
                time.sleep(RETRY_SECONDS)
                self._start()
            time.sleep(POLL_SECONDS)
        lines = [line.strip() for line in self._printed().splitlines()[-5:]]
        reason = "; ".join(dict.fromkeys(lines)) or "no output of kubectl"
        raise AccessError(f"no port-forward to {self._target} in {READY_SECONDS:.0f} s: {reason}")

    def _start(self) -> None:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.DEVNULL, stdout=self._file, stderr=subprocess.STDOUT
        )

    def _printed(self) -> str:
        # kubectl shares the position in the file, so it must not move.
        return os.pread(self._file.fileno(), OUTPUT_BYTES, 0).decode(errors="replace")

    def _stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


def _put(access: DevAccess, path: Path, key: str) -> str:
    body = zip_directory(path) if path.is_dir() else path.read_bytes()
    name = f"{path.name}.zip" if path.is_dir() else path.name
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    access.s3.put_object(Bucket=access.bucket, Key=key, Body=body, ContentType=kind)
    return f"s3://{access.bucket}/{key}: {len(body):,} bytes\n"


def _ls(access: DevAccess, prefix: str) -> str:
    pages = access.s3.get_paginator("list_objects_v2").paginate(Bucket=access.bucket, Prefix=prefix)
    items = [item for page in pages for item in page.get("Contents", [])]
    return "".join(f"{item['Size']:>12,}  {item['Key']}\n" for item in items)


def main() -> None:
    """Store, get and list objects of the dev bucket."""
    parser = argparse.ArgumentParser(
        description="Store, get and list objects in the S3 server of devServices."
    )
    parser.add_argument("--release", default=RELEASE, help=f"Helm release (default: {RELEASE})")
    parser.add_argument(
        "--namespace", default=NAMESPACE, help=f"namespace of the release (default: {NAMESPACE})"
    )
    actions = parser.add_subparsers(dest="action", required=True)
    put = actions.add_parser("put", help="store a file, or a folder as a ZIP")
    put.add_argument("path", type=Path)
    put.add_argument("key")
    actions.add_parser("get", help="write an object to stdout").add_argument("key")
    actions.add_parser("ls", help="list objects").add_argument("prefix", nargs="?", default="")
    options = parser.parse_args()
    try:
        with dev_access(options.release, options.namespace) as access:
            if options.action == "put":
                output = _put(access, options.path, options.key).encode()
            elif options.action == "ls":
                output = _ls(access, options.prefix).encode()
            else:
                response = access.s3.get_object(Bucket=access.bucket, Key=options.key)
                output = response["Body"].read()
    except (AccessError, InvalidRequest, OSError, BotoCoreError, ClientError) as error:
        print(f"devaccess: {error}", file=sys.stderr)
        sys.exit(2)
    sys.stdout.buffer.write(output)


if __name__ == "__main__":
    main()
