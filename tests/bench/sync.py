"""Compares the throughput of sync and upload with a plain copy by a compiled S3 client.

    PYTHONPATH=tests python -m bench.sync [--small 5000] [--large-mib 1024] [--rclone PATH]

All runs use one SeaweedFS on this machine (`weed` of the lock file); rounds are interleaved. Each
run is a process of its own, and its peak of resident memory is reported. Without rclone there is
no plain copy.
"""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from nanogrid import names, wire
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
        "RCLONE_CONFIG_W_TYPE": "s3",
        "RCLONE_CONFIG_W_PROVIDER": "SeaweedFS",
        "RCLONE_CONFIG_W_ENV_AUTH": "true",
        "RCLONE_CONFIG_W_ENDPOINT": server.endpoint,
        "RCLONE_CONFIG_W_REGION": "us-east-1",
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
        sys.exit(f"{command} failed with {process.returncode}")
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


def rclone(server: S3Server, program: str, source: str, target: str) -> tuple[float, float, float]:
    """Run a plain copy: no hashes, and as many parallel transfers as the sync."""
    flags = ["--transfers=16", "--checkers=16", "--ignore-checksum", "--s3-no-check-bucket"]
    command = [program, "copy", source, target, "--config=/dev/null", *flags]
    return measured(command, environment(server, make_task()))


def fill(server: S3Server, folder: str, small: int, large_mib: int) -> None:
    """Make both sets of files, on disk and in the bucket."""
    from concurrent.futures import ThreadPoolExecutor

    os.makedirs(f"{folder}/small")
    os.makedirs(f"{folder}/large")
    for number in range(small):
        path = Path(f"{folder}/small/d{number % 50}/{number:05}.bin")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(os.urandom(SMALL_BYTES))
    with open(f"{folder}/large/one.bin", "wb") as file:
        for _ in range(large_mib):
            file.write(os.urandom(MEGABYTE))
    with ThreadPoolExecutor(8) as pool:
        paths = [path for path in Path(folder).rglob("*.bin")]
        list(
            pool.map(
                lambda p: server.client.upload_file(str(p), BUCKET, str(p.relative_to(folder))),
                paths,
            )
        )


def main() -> int:
    """Print one line per kind of run: medians over the rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", type=int, default=5000)
    parser.add_argument("--large-mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rclone", default=shutil.which("rclone"))
    args = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="files")
    rows: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    with running_server() as server:
        fill(server, folder, args.small, args.large_mib)
        for _ in range(args.rounds):
            for kind in ("small", "large"):
                files = f"{folder}/{kind}"
                remote = f"w:{BUCKET}/{kind}"
                rows.setdefault((kind, "sync"), []).append(sync(server, f"{kind}/"))
                if args.rclone:
                    with pod() as root:
                        row = rclone(server, args.rclone, remote, f"{root}/app")
                    rows.setdefault((kind, "rclone down"), []).append(row)
                rows.setdefault((kind, "upload"), []).append(upload(server, f"{kind}/", files))
                if args.rclone:
                    row = rclone(server, args.rclone, files, f"w:{BUCKET}/rc/{kind}")
                    rows.setdefault((kind, "rclone up"), []).append(row)
                    server.delete(f"rc/{kind}/")
                server.delete(f"up/{kind}/")
    shutil.rmtree(folder)
    size = {"small": args.small * SMALL_BYTES, "large": args.large_mib * MEGABYTE}
    print(f"{'files':6} {'run':12} {'s':>7} {'MB/s':>7} {'CPU s':>6} {'MiB':>6}")
    for (kind, name), runs in rows.items():
        seconds, cpu, memory = (statistics.median(column) for column in zip(*runs, strict=True))
        rate = size[kind] / 1e6 / seconds
        print(f"{kind:6} {name:12} {seconds:7.2f} {rate:7.1f} {cpu:6.2f} {memory:6.0f}")
    return 0


if __name__ == "__main__":
    sys.path.insert(0, "tests")
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
    sys.exit(main())
