"""The memory of running code on the status, in ``nanogrid top`` and ``kubectl get``."""

import json
import subprocess
import sys

import pytest

from e2e.sessions import SMALL, start
from nanogrid.shown_memory import shown_memory
from nanogrid.sizes import MIB, size_text
from nanogrid.types import Json
from support.kubectl import FINISH_SECONDS, Namespace, eventually, inline
from support.sessions import session

pytestmark = pytest.mark.alone

PROGRAM = [sys.executable, "-c", "from nanogrid.cli.main import main; main()"]
# The second step is 96 MiB more, and comes when a first report can be on the status.
STEPS = """
import time
held = [b"x" * (48 << 20)]
print("first step", flush=True)
time.sleep(20)
held.append(b"x" * (96 << 20))
print("second step", flush=True)
time.sleep(600)
"""


def current(status: Json) -> int:
    """The memory that a status shows now, in bytes; 0 if it shows none."""
    return shown_memory(status).current or 0


def top(namespace: Namespace) -> list[Json]:
    """What ``nanogrid top -o json`` prints."""
    command = [*PROGRAM, "-n", namespace.name, "top", "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found: list[Json] = json.loads(done.stdout)
    return found


def test_memory_is_shown_while_code_runs_and_the_peak_after_its_end(namespace: Namespace) -> None:
    namespace.apply(inline("grows", STEPS))
    eventually(
        "the first step", lambda: current(namespace.status("grows")) >= 40 * MIB, FINISH_SECONDS
    )
    before = namespace.status("grows")
    eventually(
        "the second step", lambda: current(namespace.status("grows")) >= 130 * MIB, FINISH_SECONDS
    )

    status = namespace.status("grows")
    shown = shown_memory(status)
    assert (status["phase"], status["reason"]) == ("Running", "Executing")
    assert status.get("conditions") == before.get("conditions")
    assert shown.limit == 256 * MIB
    assert shown.peak is not None
    assert shown.peak >= 130 * MIB
    (row,) = top(namespace)
    assert (row["name"], row["memoryBytes"], row["memoryLimitBytes"]) == (
        "grows", shown.current, 256 * MIB,
    )  # fmt: skip
    wide = namespace.kubectl("get", "ej", "grows", "-o", "wide")
    assert "MEMORY" in wide.split("\n")[0].split()
    assert status["memory"] in wide.split()

    namespace.patch("grows", cancel=True)
    ended = namespace.finished("grows")
    assert "memory" not in ended
    peak = ended["result"]["peakMemoryBytes"]
    assert 140 * MIB <= peak <= 180 * MIB
    assert ended["peakMemory"] == f"{size_text(peak)}/256Mi"
    assert top(namespace)[0]["memoryBytes"] is None


def test_a_session_shows_the_memory_of_its_contexts(namespace: Namespace, router_url: str) -> None:
    caller, path, _ = start(namespace, router_url, session("holds", resources=SMALL))

    caller.execute(path, "data = b'x' * (64 << 20)", context="a")
    eventually(
        "the context's memory",
        lambda: current(namespace.status("holds")) >= 50 * MIB,
        FINISH_SECONDS,
    )
    assert namespace.status("holds")["phase"] == "Running"

    namespace.patch("holds", cancel=True)
    assert "memory" not in namespace.finished("holds")
