"""Progress of a job on stderr: a live line on a terminal, otherwise a line per change."""

import sys
import time
from types import TracebackType
from typing import Final, Protocol

from nanogrid.cli.app.formatting import duration
from nanogrid.cli.app.output import note
from nanogrid.hints import Surface, reworded
from nanogrid.lifecycle import TERMINAL_PHASES
from nanogrid.types import Json

_TIMINGS: Final = (
    ("pendingMillis", "queued"),
    ("syncMillis", "inputs"),
    ("startMillis", "start"),
    ("executionMillis", "code"),
    ("uploadMillis", "outputs"),
)
_ACTIVITY: Final = {
    "": "waiting for the operator",
    "Pending": "waiting for the pod",
    "Suspended": "suspended",
    "Syncing": "copying inputs",
    "Running": "running",
}


class Progress(Protocol):
    """Shows the changes of a job."""

    def __enter__(self) -> "Progress":
        """Start to show progress."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop, and remove the live line."""

    def note(self, text: str) -> None:
        """Show a permanent line."""

    def update(self, job: Json) -> None:
        """Show the current activity of the job."""

    def hide(self) -> None:
        """Remove the live line, because other output follows."""


def describe(job: Json) -> str:
    """The current activity of a job; "" after its end, which the summary reports."""
    status = job.get("status") or {}
    phase = str(status.get("phase") or "")
    if phase in TERMINAL_PHASES:
        return ""
    text = _ACTIVITY.get(phase, phase)
    reason = status.get("reason") or ""
    if reason and reason not in ("Executing", "Syncing", "PodCreated", "Suspended"):
        name = job["metadata"]["name"]
        message = reworded(str(status.get("message") or ""), Surface.CLI, name).splitlines()
        text += f": {reason}" + (f", {message[0]}" if message else "")
    return text


def memory_now(job: Json) -> str:
    """The memory of running code and its limit; empty if it is not known."""
    status = job.get("status") or {}
    limit = str(status.get("peakMemory") or "").partition("/")[2]
    current = status.get("memory") or ""
    return f"memory {current}" + (f" of {limit}" if limit else "") if current else ""


def summary(job: Json) -> str:
    """One line with the outcome of a job and the time of each phase."""
    status = job.get("status") or {}
    timings = status.get("timings") or {}
    parts = [f"{name} {duration(timings[key])}" for key, name in _TIMINGS if timings.get(key)]
    if status.get("peakMemory"):
        parts.append(f"memory {status['peakMemory']}")
    total = duration(timings.get("totalMillis"))
    head = f"{job['metadata']['name']}: {status.get('phase', '')}"
    if status.get("reason") and status["reason"] != "Completed":
        head += f", {status['reason']}"
    return head + (f" in {total}" if total else "") + (f" ({', '.join(parts)})" if parts else "")


class Quiet:
    """Shows nothing; with -o json stderr stays empty."""

    def __enter__(self) -> "Quiet":
        return self

    def __exit__(self, *_: object) -> None:
        return

    def note(self, text: str) -> None:
        """Do nothing."""

    def update(self, job: Json) -> None:
        """Do nothing."""

    def hide(self) -> None:
        """Do nothing."""


class Plain(Quiet):
    """Prints a line per change, with the seconds since the start."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._last = ""

    def __enter__(self) -> "Plain":
        return self

    def note(self, text: str) -> None:
        """Print the line."""
        note(text)

    def update(self, job: Json) -> None:
        """Print a line if the activity changed."""
        text = describe(job)
        if text not in ("", self._last):
            self._last = text
            note(f"{time.monotonic() - self._started:6.1f} s  {text}")


class Live(Quiet):
    """Updates one line, with a spinner and the elapsed time of the phase."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import Progress as ProgressBar
        from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

        self._bar = ProgressBar(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task("creating the job", total=None)
        self._last = ""

    def __enter__(self) -> "Live":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def note(self, text: str) -> None:
        """Print a line above the live line."""
        self._bar.console.print(text, markup=False, highlight=False)

    def update(self, job: Json) -> None:
        """Update the line; the elapsed time restarts with each phase."""
        text, memory = describe(job), memory_now(job)
        if not text:
            return
        if text != self._last:
            self._last = text
            self._bar.reset(self._task)
        self._bar.update(self._task, description=f"{text}, {memory}" if memory else text)

    def hide(self) -> None:
        """Remove the live line; later notes are plain text."""
        self._bar.stop()


def make_progress(quiet: bool) -> Progress:
    """Choose how to show progress: nothing, a live line, or plain lines."""
    if quiet:
        return Quiet()
    return Live() if sys.stderr.isatty() else Plain()
