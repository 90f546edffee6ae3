"""Where a run happens: machine, Kubernetes, commit and date."""

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from bench.performance.observer import Api
from nanogrid.types import Json

ROOT = Path(__file__).resolve().parents[3]
GIT_SECONDS = 10
SIMULATED = "kwok.x-k8s.io/node"


def _file(path: str) -> str:
    file = Path(path)
    return file.read_text() if file.exists() else ""


def commit() -> str:
    """The commit of the checkout, with a plus if tracked files differ; "unknown" without git."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--exclude=*"],
            cwd=ROOT, capture_output=True, text=True, timeout=GIT_SECONDS, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()


def describe(api: Api, *, quick: bool) -> Json:
    """The meta data of a run; ``seconds`` is added at its end."""
    cpu = re.search(r"^model name\s*: (.+)$", _file("/proc/cpuinfo"), re.M)
    memory = re.search(r"^MemTotal:\s+(\d+) kB$", _file("/proc/meminfo"), re.M)
    nodes = api.send("GET", "/api/v1/nodes")["items"]
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit(),
        "quick": quick,
        "kubernetes": api.send("GET", "/version")["gitVersion"],
        # Simulated nodes run nothing of the table.
        "nodes": sum(SIMULATED not in (one["metadata"].get("annotations") or {}) for one in nodes),
        "machine": {
            "cpu": cpu[1] if cpu else platform.processor() or platform.machine(),
            "cores": os.cpu_count() or 0,
            "memoryGib": round(int(memory[1]) / 2**20, 1) if memory else 0.0,
            "kernel": platform.release(),
        },
    }
