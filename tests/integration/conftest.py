"""A real S3 server, a pod's file layout, and the worlds of router, gateway and page."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nanogrid import names
from nanogrid_executor.launcher_install import install
from nanogrid_executor.paths import Paths
from support.executor_pod import Ended, pod_paths
from support.executor_pod import running as running_pod
from support.fake_s3 import bucket  # noqa: F401 a fixture
from support.gate_ports import Port
from support.gateway_fixtures import world  # noqa: F401 a fixture
from support.gateway_runs import function, gateway, request_id  # noqa: F401 fixtures
from support.redis_fixtures import cluster, sentinels  # noqa: F401 fixtures
from support.routing.fixtures import router, routing  # noqa: F401 fixtures
from support.s3_server import ACCESS_KEY, SECRET_KEY, S3Server, make_task, running_server
from support.session_sandbox import SandboxPod, can_unshare
from support.session_sandbox import running as running_sandbox
from support.web_fixtures import running, visitor, web_gateway, web_world  # noqa: F401 fixtures
from support.web_teams import everywhere, teams  # noqa: F401 fixtures


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    with running_server() as server:
        yield server


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The server without results, and the environment of a pod that may use it."""
    s3_server.delete("results/")  # the jobs of most tests have the same requestId
    monkeypatch.setenv(names.ENV_S3_ENDPOINT, s3_server.endpoint)
    monkeypatch.setenv(names.ENV_S3_REGION, "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    return s3_server


@pytest.fixture
def paths() -> Iterator[Paths]:
    """A pod's directories."""
    with pod_paths() as made:
        yield made


@pytest.fixture(scope="session")
def launcher_dir() -> Iterator[str]:
    """The launcher as the image has it: plain files, run with -I -S."""
    directory = tempfile.mkdtemp(prefix="launcher")
    install(Path(directory))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def pod(paths: Paths, launcher_dir: str) -> Iterator[SandboxPod]:
    """A session's sandbox, with a connected launcher."""
    with running_sandbox(paths, launcher_dir, own_pids=can_unshare()) as started:
        yield started


@pytest.fixture
def run(paths: Paths, launcher_dir: str) -> Any:
    """Run inline code to its end."""

    def run(
        code: str,
        *,
        wrap: list[str] | None = None,
        url: str = "",
        python: str = sys.executable,
        options: tuple[str, ...] = (),
        **changes: Any,
    ) -> Ended:
        task = make_task(code_inline=code, **changes)
        command = [*(wrap or []), python]
        with running_pod(
            task, paths, launcher_dir, python=command, url=url, options=options
        ) as pod:
            return pod.wait()

    return run


@pytest.fixture
def denied() -> Iterator[Port]:
    """The port that a pod under its policies does not reach."""
    port = Port()
    yield port
    port.close()


@pytest.fixture
def results() -> Iterator[Port]:
    """The port that it reaches."""
    port = Port()
    yield port
    port.close()
