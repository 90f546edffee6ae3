"""The start of the command line: whole processes, in turn with kubectl and a bare interpreter.

With a cluster (KUBECONFIG) the commands ask it; otherwise an API server in this process answers.
Bytecode is cached, as an installation with pip has it. Prints milliseconds. `list` is to take at
most 350 ms on an idle machine.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nanogrid import names
from nanogrid.cli.http_serving import serving
from support.cli_fakes import ended
from support.client_server import FakeApi

SECONDS = 120
PROGRAM = str(Path(sys.executable).with_name("nanogrid"))


@contextmanager
def kubeconfig() -> Iterator[str]:
    """The user's configuration, or that of an API server with 100 jobs."""
    if os.environ.get("KUBECONFIG"):
        yield os.environ["KUBECONFIG"]
        return
    with serving(FakeApi()) as server, tempfile.TemporaryDirectory() as folder:
        for number in range(100):
            server.put(server.job_path(f"j-{number}", "default"), ended(f"j-{number}"))
        place = {"cluster": "c", "user": "u"}
        config = {
            "current-context": "c",
            "contexts": [{"name": "c", "context": place}],
            "clusters": [{"name": "c", "cluster": {"server": server.url}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
        }
        file = Path(folder) / "config"
        file.write_text(json.dumps(config))
        yield str(file)


def millis(command: list[str], variables: dict[str, str]) -> float:
    """The time of one process."""
    began = time.perf_counter()
    subprocess.run(command, env=variables, check=True, capture_output=True, timeout=SECONDS)
    return (time.perf_counter() - began) * 1000


def commands() -> dict[str, list[str]]:
    """The processes to measure, by the name of their row."""
    found = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "nanogrid --version": [PROGRAM, "--version"],
        "nanogrid list": [PROGRAM, "list"],
        "nanogrid --help": [PROGRAM, "--help"],
    }
    if os.environ.get("KUBECONFIG") and shutil.which("kubectl"):
        found["kubectl get ej"] = ["kubectl", "get", names.SHORT_NAME]
    return found


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description="Start time of the command line.")
    parser.add_argument("--count", type=int, default=20)
    count = parser.parse_args().count
    rows = commands()
    times: dict[str, list[float]] = {name: [] for name in rows}
    with kubeconfig() as file:
        variables = os.environ | {"KUBECONFIG": file}
        variables.pop("PYTHONDONTWRITEBYTECODE", None)
        for command in rows.values():
            millis(command, variables)  # the first run writes the bytecode
        for _ in range(count):
            for name, command in rows.items():
                times[name].append(millis(command, variables))
    for name, values in times.items():
        best, median, worst = min(values), statistics.median(values), max(values)
        print(f"{name:20} p50 {median:6.0f}   min {best:6.0f}   max {worst:6.0f} ms")


if __name__ == "__main__":
    main()
