"""Reach the chart's dev services (S3 and Redis in the cluster) from this machine.

For demo, e2e tests and curious people; never for real jobs. `kubectl port-forward` opens a port of
this machine for each service, and the credentials come from the release's Secret:

    with dev_access() as access:
        access.s3.list_objects_v2(Bucket=access.bucket)
        access.redis().get("result:my-request")

A port-forward is bound to one pod: after a restart of Redis or S3, enter ``dev_access`` again.
As a program: `uv run python scripts/devaccess.py --help`.
"""

import argparse
import base64
import io
import json
import mimetypes
import queue
import re
import subprocess
import sys
import threading
import time
import zipfile
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import boto3
import redis
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

RELEASE: Final = "nanogrid"
NAMESPACE: Final = "nanogrid-system"
BUCKET: Final = "nanogrid"
S3_PORT: Final = 8333
REDIS_PORT: Final = 6379
READY_SECONDS: Final = 30.0
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
    """The dev services cannot be reached; the text says why and what to do."""


@dataclass
class DevAccess:
    """An S3 client for the dev bucket, and Redis clients as many as wanted."""

    s3: "S3Client"
    bucket: str
    s3_endpoint: str
    redis_port: int
    redis_password: str
    _stack: ExitStack = field(repr=False)

    def redis(self, **options: Any) -> redis.Redis:
        """A new Redis client, closed at the latest when the access ends."""
        settings: dict[str, Any] = {"socket_timeout": 10, "socket_connect_timeout": 5}
        settings |= {"decode_responses": True, "password": self.redis_password} | options
        client = redis.Redis(host="127.0.0.1", port=self.redis_port, **settings)
        self._stack.callback(client.close)
        return client


def kubectl(*words: str, stdin: str | None = None, timeout: float = KUBECTL_SECONDS) -> str:
    """The output of one kubectl command.

    Raises:
        AccessError: it failed; the text is one line for a cluster that does not answer.
    """
    command = ["kubectl", f"--request-timeout={max(1, int(timeout) - 1)}s", *words]
    try:
        done = subprocess.run(
            command, input=stdin, text=True, capture_output=True, timeout=timeout, check=False
        )
    except FileNotFoundError:
        raise AccessError("kubectl is not on the PATH; `make cluster-up` brings one") from None
    except subprocess.TimeoutExpired:
        raise AccessError(f"no answer within {timeout:.0f} s: kubectl {' '.join(words)}") from None
    if done.returncode != 0:
        said = done.stderr.strip()
        if any(sign in said for sign in NO_CLUSTER):
            last = said.splitlines()[-1]
            raise AccessError(f"no cluster answers; run `make cluster-up` (kubectl: {last})")
        raise AccessError(f"kubectl {' '.join(words[:4])}: {said or done.returncode}")
    return done.stdout


def zip_folder(folder: Path) -> bytes:
    """A ZIP of a folder's files; the same files give the same bytes, so the same checksum."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                entry = zipfile.ZipInfo(path.relative_to(folder).as_posix())
                entry.external_attr = 0o644 << 16
                entry.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(entry, path.read_bytes())
    return buffer.getvalue()


@contextmanager
def dev_access(
    release: str = RELEASE, namespace: str = NAMESPACE, bucket: str = BUCKET
) -> Iterator[DevAccess]:
    """S3 and Redis of a release with devServices, for as long as the context lasts.

    Raises:
        AccessError: no cluster, no such release, or its services are not running.
    """
    # The chart's own rule for the prefix of its names.
    name = release if "nanogrid" in release else f"{release}-nanogrid-operator"
    secret = _secret(f"{name}-dev", release, namespace)
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
                proxies={},  # a proxy of the environment cannot reach this machine's ports
            ),
        )
        stack.callback(client.close)
        yield DevAccess(client, bucket, endpoint, redis_port, secret["password"], stack)


def _secret(name: str, release: str, namespace: str) -> dict[str, str]:
    """The decoded Secret of the dev services."""
    try:
        answer = kubectl("-n", namespace, "get", "secret", name, "-o", "json")
    except AccessError as error:
        if "NotFound" not in str(error):
            raise
        raise AccessError(
            f"no Secret {name} in namespace {namespace}: the chart (release {release}) is not "
            "installed there with devServices.enabled; run `make deploy`"
        ) from None
    data: dict[str, str] = json.loads(answer)["data"]
    return {key: base64.b64decode(value).decode() for key, value in data.items()}


class PortForward:
    """One `kubectl port-forward` to a port of a Service; kubectl chooses the local port."""

    def __init__(self, namespace: str, target: str, port: int) -> None:
        self._target = f"{target} in namespace {namespace}"
        self._command = ["kubectl", "-n", namespace, "port-forward", "--address=127.0.0.1"]
        self._command += [target, f":{port}"]
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._ports: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._said: deque[str] = deque(maxlen=5)

    def __enter__(self) -> "PortForward":
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def wait_ready(self) -> int:
        """The local port, once connections to it are taken."""
        deadline = time.monotonic() + READY_SECONDS
        while (left := deadline - time.monotonic()) > 0:
            try:
                port = self._ports.get(timeout=left)
            except queue.Empty:
                break
            if port is not None:
                return port
            # kubectl has ended: the pod may just be starting, so try again for a while.
            self._stop()
            time.sleep(0.3)
            self._start()
        reason = "; ".join(dict.fromkeys(self._said)) or "kubectl said nothing"
        raise AccessError(f"no way to {self._target} within {READY_SECONDS:.0f} s: {reason}")

    def _start(self) -> None:
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()

    def _read(self, process: "subprocess.Popen[str]") -> None:
        """Read to the end: kubectl says a line per connection and stops when its pipe is full."""
        if process.stdout is None:
            return
        for line in process.stdout:
            if found := FORWARDING.search(line):
                self._ports.put(int(found[1]))
            elif not line.startswith("Handling connection"):
                self._said.append(line.strip())
        self._ports.put(None)

    def _stop(self) -> None:
        if self._process is None or self._reader is None:
            return
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(5)
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._process = None


def _put(access: DevAccess, path: Path, key: str) -> str:
    body = zip_folder(path) if path.is_dir() else path.read_bytes()
    name = f"{path.name}.zip" if path.is_dir() else path.name
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    access.s3.put_object(Bucket=access.bucket, Key=key, Body=body, ContentType=kind)
    return f"s3://{access.bucket}/{key}: {len(body):,} bytes\n"


def _ls(access: DevAccess, prefix: str) -> str:
    pages = access.s3.get_paginator("list_objects_v2").paginate(Bucket=access.bucket, Prefix=prefix)
    found = [item for page in pages for item in page.get("Contents", [])]
    return "".join(f"{item['Size']:>12,}  {item['Key']}\n" for item in found)


def main() -> None:
    """Put, get and list objects of the dev bucket."""
    parser = argparse.ArgumentParser(description="Files in the S3 server of the dev services.")
    parser.add_argument("--release", default=RELEASE)
    parser.add_argument("--namespace", default=NAMESPACE, help="of the release")
    actions = parser.add_subparsers(dest="action", required=True)
    put = actions.add_parser("put", help="store a file, or a folder as a ZIP")
    put.add_argument("path", type=Path)
    put.add_argument("key")
    actions.add_parser("get", help="write an object to standard output").add_argument("key")
    actions.add_parser("ls", help="list objects").add_argument("prefix", nargs="?", default="")
    options = parser.parse_args()
    try:
        with dev_access(options.release, options.namespace) as access:
            if options.action == "put":
                answer = _put(access, options.path, options.key).encode()
            elif options.action == "ls":
                answer = _ls(access, options.prefix).encode()
            else:
                found = access.s3.get_object(Bucket=access.bucket, Key=options.key)
                answer = found["Body"].read()
    except (AccessError, OSError, BotoCoreError, ClientError) as error:
        print(f"devaccess: {error}", file=sys.stderr)
        sys.exit(2)
    sys.stdout.buffer.write(answer)


if __name__ == "__main__":
    main()
