"""A cache for the outputs of long steps; the key is a hash of all inputs."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.paths import Paths, paths
from cluster.progress import say
from cluster.steps import ClusterError, Log, step

# One lock for each output; a thread waits while another one builds the same output.
_LOCKS: dict[Path, threading.Lock] = {}


def key_of(*parts: str | Path) -> str:
    """A short hash of texts and of file contents (for a directory, all files in it)."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            digest.update(part.encode() + b"\0")
            continue
        files = sorted(p for p in part.rglob("*") if p.is_file()) if part.is_dir() else [part]
        for file in files:
            name = file.relative_to(part) if part.is_dir() else Path(file.name)
            digest.update(str(name).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def artifact(name: str, key: str, doing: str, build: Callable[[Path, Log], None]) -> Path:
    """The output directory of a step; builds it if it is missing.

    It is built under another name and renamed when complete, so that a killed run leaves no
    incomplete output that a later run would use. Threads that want the same output wait for it.
    """
    here = paths()
    target = here.artifacts / f"{name}-{key}"
    with _LOCKS.setdefault(target, threading.Lock()):
        if target.is_dir():
            return target
        here.artifacts.mkdir(parents=True, exist_ok=True)
        draft = here.artifacts / f".draft-{name}-{key}"
        if draft.exists():
            shutil.rmtree(draft)
        draft.mkdir()
        with step(name, doing) as log:
            build(draft, log)
        draft.rename(target)
    return target


@contextmanager
def exclusive(here: Paths, timeout: float) -> Iterator[None]:
    """Takes the lock, so that two runs at the same time do not build or create twice.

    Raises:
        ClusterError: another run still has the lock after ``timeout`` seconds.
    """
    here.root.mkdir(parents=True, exist_ok=True)
    with here.lock.open("a") as file:
        deadline = time.monotonic() + timeout
        reported = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ClusterError(
                        f"another run still holds {here.lock} after {timeout:.0f} s"
                    ) from None
                if not reported:
                    say("waiting for another run to end")
                    reported = True
                time.sleep(0.5)
        yield
