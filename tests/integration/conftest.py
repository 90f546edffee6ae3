"""A real S3 server and a pod's file layout, for tests that run the executor's processes."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from integration.support import ACCESS_KEY, BUCKET, SECRET_KEY, S3Server, free_port
from nanogrid import names
from nanogrid_executor.install import install
from nanogrid_executor.paths import Paths

READY_SECONDS = 60


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    with running_server() as server:
        yield server


@contextmanager
def running_server() -> Iterator[S3Server]:
    """A SeaweedFS in a directory of its own."""
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
    command += ["-master.telemetry=false", f"-bucket={BUCKET}"]
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


def _when_ready(process: "subprocess.Popen[bytes]", endpoint: str, log: str) -> S3Server:
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        config=Config(retries={"max_attempts": 0}, connect_timeout=2, read_timeout=10),
    )
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            client.put_object(Bucket=BUCKET, Key="ready", Body=b"yes")
            return S3Server(endpoint, client)
        except (BotoCoreError, ClientError):
            time.sleep(0.1)
    raise RuntimeError(f"SeaweedFS did not start: {Path(log).read_text()[-2000:]}")


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The server, and the environment of a pod that may use it."""
    monkeypatch.setenv(names.ENV_S3_ENDPOINT, s3_server.endpoint)
    monkeypatch.setenv(names.ENV_S3_REGION, "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    return s3_server


@pytest.fixture
def paths() -> Iterator[Paths]:
    """A pod's directories; short, because a Unix socket's path has at most 107 bytes."""
    root = tempfile.mkdtemp(prefix="pod")
    os.makedirs(f"{root}{names.WORKSPACE}")
    os.makedirs(f"{root}{names.TOKEN_DIR}")
    Path(f"{root}{names.TOKEN_FILE}").write_text("the-token\n")
    yield Paths(root)
    shutil.rmtree(root)


@pytest.fixture(scope="session")
def launcher_dir() -> Iterator[str]:
    """The launcher as the image has it: plain files, run with -I -S."""
    directory = tempfile.mkdtemp(prefix="launcher")
    install(Path(directory))
    yield directory
    shutil.rmtree(directory)
