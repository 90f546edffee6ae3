"""Compares the reported peak memory with programs of known size, each in its own container.

    PYTHONPATH=tests python -m bench.memory IMAGE

The launcher runs in the container, so its cgroup holds the program alone. This process is the
agent. Needs Docker and an image with python3.
"""

import argparse
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from nanogrid_executor.agent.execution import Execution, RunRequest, Sandbox
from nanogrid_executor.launcher_install import install

MEGABYTE = 1 << 20
LIMIT = "1g"
SIZES = (64, 100, 128, 256, 512)
CACHE = "f=open('/tmp/f','wb')\nfor _ in range(300): f.write(bytes(1<<20))\nf.flush()\n"
FORKS = """
import os, time
pids = []
for _ in range(3):
    pid = os.fork()
    if not pid:
        pids = []
        break
    pids.append(pid)
x = bytearray(32 << 20)
time.sleep(0.4)
for pid in pids: os.wait()
"""
PROGRAMS: list[tuple[str, int, list[str]]] = [
    ("nothing", 0, ["python3", "-c", "pass"]),
    *((f"bytearray {n}", n, ["python3", "-c", f"x=bytearray({n}<<20)"]) for n in SIZES),
    ("held 200 ms", 100, ["python3", "-c", "import time\nx=bytearray(100<<20)\ntime.sleep(.2)"]),
    ("dd 64", 64, ["dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=2", "status=none"]),
    ("dd 256", 256, ["dd", "if=/dev/zero", "of=/dev/null", "bs=256M", "count=2", "status=none"]),
    ("300 MB of page cache", 0, ["python3", "-c", CACHE]),
    ("the same and 128", 128, ["python3", "-c", CACHE + "x=bytearray(128<<20)"]),
    (
        "4 processes of 32",
        128,
        ["python3", "-c", FORKS],
    ),
    ("32 times 64, freed", 64, ["python3", "-c", "for _ in range(32): x=bytearray(64<<20); del x"]),
]


def run(image: str, launcher: str, argv: list[str]) -> Execution:
    """Run one program in a new container."""
    folder = tempfile.mkdtemp(prefix="memory")
    try:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(f"{folder}/agent.sock")
        listener.listen(1)
        mounts = ["-v", f"{folder}:/run/nanogrid", "-v", f"{launcher}:/launcher:ro"]
        command = ["docker", "run", "--rm", "--memory", LIMIT, "--user", "0", "--network", "none"]
        container = [*command, *mounts, image, "python3", "-I", "-S", "/launcher"]
        with subprocess.Popen(container) as process:
            sandbox = Sandbox(listener.accept()[0])
            request = RunRequest(
                argv=argv, cwd="/", env={}, stdin="", timeout_seconds=60, grace_seconds=1
            )
            execution = Execution()
            sandbox.run(request, execution, lambda: None)
            sandbox.close()
            process.wait()
        return execution
    finally:
        shutil.rmtree(folder)


def main() -> int:
    """Print one line per program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("image")
    image = parser.parse_args().image
    launcher = tempfile.mkdtemp(prefix="launcher")
    install(Path(launcher))
    Path(launcher).chmod(0o755)
    print(f"{'program':24} {'MiB':>5} {'reported':>9} {'off by':>7} {'%':>6} {'ms':>6} {'cpu':>5}")
    for name, size, argv in PROGRAMS:
        exited = run(image, launcher, argv).exited
        if exited is None or exited.exit_code != 0:
            print(f"{name:24} failed: {exited}")
            continue
        got = exited.peak_memory_bytes / MEGABYTE
        off = 100 * (got - size) / size if size else 0.0
        print(
            f"{name:24} {size:5} {got:9.1f} {got - size:7.1f} {off:6.1f} "
            f"{exited.duration_millis:6} {exited.cpu_millis:5} {exited.memory_source}"
        )
    shutil.rmtree(launcher)
    return 0


if __name__ == "__main__":
    sys.exit(main())
