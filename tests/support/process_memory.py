"""The peak memory of running processes."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

LOOK_SECONDS: Final = 0.01


@contextmanager
def peak_memory(*pids: int) -> Iterator[dict[int, int]]:
    """Watch processes until the block ends; their high-water marks in bytes, by process ID."""
    peaks: dict[int, int] = {}
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(LOOK_SECONDS):
            for pid in pids:
                status = Path(f"/proc/{pid}/status")
                text = status.read_text() if status.exists() else ""
                if found := re.search(r"VmHWM:\s+(\d+) kB", text):
                    peaks[pid] = int(found.group(1)) * 1024

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peaks
    finally:
        ended.set()
        watcher.join()
