"""Prints the elapsed time and the progress of what takes long, while it runs.

For the steps of this package and for the scripts; the standard library only.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

INTERVAL_SECONDS = 20.0
LONGEST = 100


def say(text: str) -> None:
    """Prints progress to stderr; stdout has only output for other programs.

    One write for each line, because steps can run at the same time.
    """
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def duration(seconds: float) -> str:
    """Seconds as text: `40 s`, `3 min 20 s`."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


@contextmanager
def reporting(
    doing: str,
    progress: Callable[[], str] = lambda: "",
    *,
    interval: float = INTERVAL_SECONDS,
    output: Callable[[str], None] = say,
) -> Iterator[None]:
    """Prints every `interval` seconds how long this has taken, and its progress."""
    started = time.monotonic()
    ended = threading.Event()

    def report() -> None:
        while not ended.wait(interval):
            detail = progress()[:LONGEST]
            elapsed = duration(time.monotonic() - started)
            output(f"    {doing}: {elapsed} so far{', ' if detail else ''}{detail}")

    thread = threading.Thread(target=report, name=f"progress of {doing}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        # No thread writes to stderr after the end of its step.
        thread.join()
