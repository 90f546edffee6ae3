"""The boot test of the image."""

import os
import subprocess
import sys
from pathlib import Path


def check(caches: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    """The command, with byte code only in a folder."""
    env = {**os.environ, "PYTHONPYCACHEPREFIX": str(caches)}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, *options, "-m", "nanogrid_executor", "check", "--compiled"]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)


def test_it_fails_if_a_module_would_be_compiled_in_each_job(tmp_path: Path) -> None:
    without = check(tmp_path, "-B")  # as with a read-only root
    assert without.returncode == 1
    assert "nanogrid_executor.agent.batch" in without.stderr

    assert check(tmp_path).returncode == 0, "this process has cached them"
    assert check(tmp_path, "-B").returncode == 0
