"""Programs that use up what a node has, and a neighbour that measures what is left for it."""

from dataclasses import dataclass
from typing import Any

from support.neighbours import EXHAUST

CPU_SECONDS = 0.45  # of each round of the neighbour


@dataclass(frozen=True)
class Bomb:
    """A program that prints its first line when it has its full effect, and goes on."""

    name: str
    program: str
    memory: str = "512Mi"

    @property
    def resources(self) -> dict[str, Any]:
        """Little CPU is requested, so that the scheduler always has room."""
        return {
            "limits": {"cpu": "300m", "memory": self.memory},
            "requests": {"cpu": "50m", "memory": "64Mi"},
        }


BOMBS = (
    Bomb(
        "forks",
        """
import os, time
print("begun", flush=True)
while True:
    try:
        os.fork()
    except OSError:
        time.sleep(0.2)
""",
    ),
    Bomb(
        "memory",
        """
import os
print("begun", flush=True)
while True:
    child = os.fork()
    if child == 0:
        hog = []
        while True:
            hog.append(bytearray(b"x") * (8 << 20))
    os.waitpid(child, 0)
""",
        memory="256Mi",
    ),
    Bomb(
        "spin",
        """
import os, time
for number in range(100):
    if os.fork() == 0:
        while True:
            pass
print("begun", flush=True)
time.sleep(600)
""",
    ),
    Bomb(
        "disk",
        """
import os
while True:
    for folder in ("/tmp", "/app"):
        for number in range(10):
            with open(f"{folder}/{number}", "wb") as file:
                file.write(bytes(20 << 20))
    print("begun", flush=True)
    for folder in ("/tmp", "/app"):
        for number in range(10):
            os.unlink(f"{folder}/{number}")
""",
    ),
    Bomb(
        "descriptors",
        """
import os, resource, time
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
def fill():
    try:
        for number in range(50_000):
            os.open("/dev/null", os.O_RDONLY)
    except OSError:
        pass
for number in range(4):
    if os.fork() == 0:
        fill()
        time.sleep(600)
fill()
print("begun", flush=True)
time.sleep(600)
""",
    ),
    Bomb(
        "flood",
        """
import os
print("begun", flush=True)
while True:
    os.write(1, b"x" * (1 << 20))
""",
    ),
    Bomb(
        "files",
        """
import os
while True:
    for number in range(20_000):
        os.close(os.open(f"/tmp/{number}", os.O_CREAT | os.O_WRONLY))
    print("begun", flush=True)
    for number in range(20_000):
        os.unlink(f"/tmp/{number}")
""",
    ),
    Bomb("counted-per-user", EXHAUST, memory="1Gi"),
)

# Rounds of the same work, one line of JSON each: the time, and an error of what a job needs in
# addition to the CPU. Before them the control: rounds that share the CPU limit with a process.
NEIGHBOUR = f"""
import ctypes, json, os, signal, subprocess, time

libc = ctypes.CDLL(None, use_errno=True)

def work(count):
    total = 0
    for number in range(count):
        total += number * number

def round_of(count):
    started, error = time.monotonic(), ""
    try:
        work(count)
        for descriptor in os.pipe():
            os.close(descriptor)
        watch = libc.inotify_init1(os.O_CLOEXEC)
        if watch < 0:
            raise OSError(ctypes.get_errno(), "no inotify instance")
        os.close(watch)
        subprocess.run(["/bin/true"], check=True)
        with open("/tmp/own", "wb") as file:
            file.write(bytes(1 << 20))
    except OSError as failure:
        error = str(failure)
    return {{"seconds": round(time.monotonic() - started, 3), "error": error}}

trial, started = 500_000, time.process_time()
work(trial)
count = int(trial * {CPU_SECONDS} / (time.process_time() - started))
alone = [round_of(count)["seconds"] for number in range(3)]
other = os.fork()
if other == 0:
    while True:
        pass
shared = [round_of(count)["seconds"] for number in range(3)]
os.kill(other, signal.SIGKILL)
os.waitpid(other, 0)
print(json.dumps({{"alone": alone, "shared": shared}}), flush=True)
while True:
    print(json.dumps(round_of(count)), flush=True)
"""
