"""What long steps made is kept, found again by a hash of all that went into it."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.paths import Paths, paths
from cluster.steps import ClusterError, Log, say, step


def key_of(*parts: str | Path) -> str:
    """A short hash of texts and of files' contents (directories: every file in them)."""
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
    """The finished output directory of a step, built only if it is not there yet.

    It is built under another name and renamed when complete: a run killed half-way
    leaves nothing that a later run could take for finished.
    """
    here = paths()
    target = here.artifacts / f"{name}-{key}"
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
    """Waits its turn, so that two runs at the same time do not build or create twice."""
    here.root.mkdir(parents=True, exist_ok=True)
    with here.lock.open("a") as file:
        deadline = time.monotonic() + timeout
        told = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ClusterError(
                        f"another run still holds {here.lock} after {timeout:.0f} s"
                    ) from None
                if not told:
                    say("another run is at work; waiting for it")
                    told = True
                time.sleep(0.5)
        yield
