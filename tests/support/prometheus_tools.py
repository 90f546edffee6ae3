"""Prometheus and promtool from the cache of tests/cluster, which builds them if needed."""

import functools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import yaml

TESTS: Final = Path(__file__).parents[1]
BUILD_SECONDS: Final = 3600
PROMTOOL_SECONDS: Final = 300


@functools.cache
def tool(name: str) -> Path:
    """The path of a program."""
    return Path(_cluster("tool", name))


def loaded_image(name: str) -> str:
    """The image of a program, which is on the nodes of the cluster."""
    return _cluster("load-tool", name)


def _cluster(*args: str) -> str:
    """The last line that a command of tests/cluster prints."""
    done = subprocess.run(
        [sys.executable, "-m", "cluster", *args],
        cwd=TESTS,
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
    )
    assert done.returncode == 0, f"cluster {' '.join(args)}: {done.stderr[-2000:]}"
    return done.stdout.split()[-1]


def promtool(*args: str | Path, stdin: str | None = None) -> "subprocess.CompletedProcess[str]":
    """Run promtool."""
    return subprocess.run(
        [tool("promtool"), *args],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=PROMTOOL_SECONDS,
        env={**os.environ, "NO_COLOR": "1"},
    )


def write_yaml(path: Path, content: Any) -> Path:
    """Write a YAML file."""
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path
