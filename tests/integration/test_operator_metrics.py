"""The operator's process and the port of its metrics."""

import os
import subprocess
import sys

import pytest

from nanogrid.listening import listen_on_all
from nanogrid.metrics.server import ENV
from support.builders import REQUIRED_ENVIRONMENT
from support.s3_server import free_port

pytestmark = pytest.mark.integration


def test_a_port_in_use_is_an_error_before_anything_starts() -> None:
    port = free_port()
    with listen_on_all(port, 1):
        done = subprocess.run(
            [sys.executable, "-m", "nanogrid_operator"],
            env={**os.environ, **REQUIRED_ENVIRONMENT, ENV: str(port)},
            capture_output=True,
            text=True,
            timeout=120,
        )

    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert f"CRITICAL nanogrid a setting is wrong: {ENV} is {port}: " in last
    assert "cannot listen on it: Address already in use; " in last
    assert "Traceback" not in done.stderr
