"""Run the commands of a build, and hash its inputs."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
UV = [sys.executable, str(ROOT / "scripts/uv.py")]
BUILD_SECONDS = 900
DEFAULT_PLATFORM = "DOCKER_DEFAULT_PLATFORM"
# An image has the platform of the engine, whatever the default for other images is.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != DEFAULT_PLATFORM}


def run(command: list[str], cwd: Path = ROOT) -> str:
    """Run a command and return its output; on failure print the output and exit."""
    done = subprocess.run(
        command, cwd=cwd, text=True, capture_output=True, timeout=BUILD_SECONDS, check=False,
        env=ENVIRONMENT,
    )  # fmt: skip
    if done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-25:])
        sys.exit(f"images: `{' '.join(command)}` failed with {done.returncode}:\n{tail}")
    return done.stdout


def digest(paths: Iterable[Path], *more: str) -> str:
    """Hash files (path in the repository and content) and additional text."""
    total = hashlib.sha256("\0".join(more).encode())
    for path in sorted(paths):
        total.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return total.hexdigest()[:12]
