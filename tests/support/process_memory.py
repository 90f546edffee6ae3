"""The peak memory of running processes."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

LOOK_SECONDS: Final = 0.01


def process_file(pid: int, name: str) -> str:
    """The text of a file in `/proc/PID`, or "" where the process is gone.

    A process can end between the open and the read: then the read fails with ESRCH.
    """
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


@contextmanager
def peak_memory(*pids: int) -> Iterator[dict[int, int]]:
    """Watch processes until the block ends; their high-water marks in bytes, by process ID."""
    peaks: dict[int, int] = {}
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(LOOK_SECONDS):
            for pid in pids:
                if found := re.search(r"VmHWM:\s+(\d+) kB", process_file(pid, "status")):
                    peaks[pid] = int(found.group(1)) * 1024

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peaks
    finally:
        ended.set()
        watcher.join()
