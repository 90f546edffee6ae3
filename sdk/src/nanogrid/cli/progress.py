"""What people see on stderr while a job runs: a live line on a terminal, else one per change."""

import sys
import time
from types import TracebackType
from typing import Any, Final, Protocol

from nanogrid.cli.output import say
from nanogrid.cli.times import duration

Json = dict[str, Any]
_TIMINGS: Final = (
    ("pendingMillis", "queued"),
    ("syncMillis", "inputs"),
    ("startMillis", "start"),
    ("executionMillis", "code"),
    ("uploadMillis", "outputs"),
)
_DOING: Final = {
    "": "waiting for the operator",
    "Pending": "waiting for the pod",
    "Suspended": "suspended",
    "Syncing": "copying inputs",
    "Running": "running",
}


class Progress(Protocol):
    """Where a job's changes are shown."""

    def __enter__(self) -> "Progress":
        """Begin."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End; nothing of a live line stays."""

    def note(self, text: str) -> None:
        """Show a line that stays."""

    def changed(self, job: Json) -> None:
        """Show what the job does now."""

    def printing(self) -> None:
        """Something else is written from now on: a live line would be in its way."""


def describe(job: Json) -> str:
    """What a job does, in a few words; "" once it has ended: the summary says that."""
    status = job.get("status") or {}
    phase = str(status.get("phase") or "")
    if phase in ("Succeeded", "Failed"):
        return ""
    text = _DOING.get(phase, phase)
    reason = status.get("reason") or ""
    if reason and reason not in ("Executing", "Syncing", "PodCreated", "Suspended"):
        message = str(status.get("message") or "").splitlines()
        text += f": {reason}" + (f", {message[0]}" if message else "")
    return text


def summary(job: Json) -> str:
    """How a job ended and how long each phase took, in a line."""
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
    """Shows nothing: stderr stays empty with -o json."""

    def __enter__(self) -> "Quiet":
        return self

    def __exit__(self, *_: object) -> None:
        return

    def note(self, text: str) -> None:
        """Nothing."""

    def changed(self, job: Json) -> None:
        """Nothing."""

    def printing(self) -> None:
        """Nothing."""


class Plain(Quiet):
    """A line per change, with the seconds since the beginning."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._last = ""

    def __enter__(self) -> "Plain":
        return self

    def note(self, text: str) -> None:
        """A line."""
        say(text)

    def changed(self, job: Json) -> None:
        """A line, if there is something new to say."""
        text = describe(job)
        if text not in ("", self._last):
            self._last = text
            say(f"{time.monotonic() - self._started:6.1f} s  {text}")


class Live(Quiet):
    """One line that is renewed, with a spinner and the time that the phase has taken."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import Progress as Bar
        from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

        self._bar = Bar(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task("sending the job", total=None)
        self._last = ""

    def __enter__(self) -> "Live":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def note(self, text: str) -> None:
        """A line above the live one."""
        self._bar.console.print(text, markup=False, highlight=False)

    def changed(self, job: Json) -> None:
        """Renew the line; its clock begins anew with each phase."""
        text = describe(job)
        if text not in ("", self._last):
            self._last = text
            self._bar.reset(self._task, description=text)

    def printing(self) -> None:
        """The line goes for good; notes stay plain text."""
        self._bar.stop()


def progress(quiet: bool) -> Progress:
    """What fits: nothing, a live line, or plain lines."""
    if quiet:
        return Quiet()
    return Live() if sys.stderr.isatty() else Plain()
