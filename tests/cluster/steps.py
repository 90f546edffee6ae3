"""Runs the steps: prints what they do, how long they take, and how they fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from cluster.paths import paths
from cluster.progress import reporting, say

TAIL_LINES = 20
# The end of a log that is read for its last line.
TAIL_BYTES = 4096


class ClusterError(Exception):
    """An error for the user; its text is the whole message."""


class UsageError(ClusterError):
    """The machine or the environment must change first; exit status 2."""


class CommandFailed(ClusterError):
    """A command failed or exceeded its time limit."""


class Commands:
    """The commands that run now, so that a failed step can stop those of other threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self.stopped = False

    def start(self, process: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
        """Starts a command.

        Raises:
            CommandFailed: the commands are stopped.
        """
        with self._lock:
            if self.stopped:
                raise CommandFailed("not started, because another step failed")
            started = process()
            self._running.add(started)
            return started

    def end(self, process: subprocess.Popen[bytes]) -> None:
        """Kills a command that still runs, and forgets it."""
        process.kill()
        process.wait()
        with self._lock:
            self._running.discard(process)

    def stop(self) -> None:
        """Kills all commands, and refuses new ones."""
        with self._lock:
            self.stopped = True
            for process in self._running:
                process.kill()

    def resume(self) -> None:
        """Allows commands again."""
        with self._lock:
            self.stopped = False


COMMANDS = Commands()


def last_line(path: Path) -> str:
    """The last line of a log that is not empty."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - TAIL_BYTES))
        lines = file.read().decode(errors="replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


class Log:
    """The log file of one step, and the commands that write to it."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self.path = path
        self._file = file
        self._progress: Callable[[Path], str] = last_line

    def show(self, progress: Callable[[Path], str]) -> None:
        """Sets how the progress is read from the log; by default it is the last line."""
        self._progress = progress

    def progress(self) -> str:
        """The progress of the step now."""
        return self._progress(self.path)

    def write(self, text: str) -> None:
        """Adds a line to the log."""
        self._file.write(text.encode() + b"\n")
        self._file.flush()

    def run(
        self,
        command: Sequence[str | Path],
        *,
        timeout: float,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: IO[bytes] | None = None,
        stdout: IO[bytes] | None = None,
    ) -> None:
        """Runs a command and writes its output to the log.

        Raises:
            CommandFailed: the command failed or exceeded ``timeout`` seconds.
        """
        shown = " ".join(str(part) for part in command)
        self.write(f"$ {shown[:500]}")
        process = COMMANDS.start(
            lambda: subprocess.Popen(
                killed_with_parent(command),
                stdin=stdin if stdin is not None else subprocess.DEVNULL,
                stdout=stdout if stdout is not None else self._file,
                stderr=self._file,
                env=dict(env) if env is not None else None,
                cwd=cwd,
            )
        )
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise CommandFailed(f"not finished within {timeout:.0f} s: {shown[:200]}") from None
        finally:
            COMMANDS.end(process)
        if status != 0 and COMMANDS.stopped:
            raise CommandFailed(f"stopped, because another step failed: {shown[:200]}")
        if status != 0:
            raise CommandFailed(f"exit status {status}: {shown[:200]}")


def killed_with_parent(command: Sequence[str | Path]) -> list[str]:
    """The command with a prefix so that, on Linux, it is killed when this process is killed.

    Otherwise, after a `kill -9` of a run, e.g. `kind create` would still work during the next run.
    """
    args = [str(part) for part in command]
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--", *args] if setpriv else args


def capture(
    command: Sequence[str | Path],
    *,
    timeout: float,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
) -> str:
    """The stdout of a short command.

    Raises:
        CommandFailed: the command failed or exceeded ``timeout`` seconds.
    """
    shown = " ".join(str(part) for part in command)[:200]
    try:
        done = subprocess.run(
            killed_with_parent(command),
            capture_output=True,
            text=True,
            timeout=timeout,
            env=dict(env) if env is not None else None,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
        )
    except subprocess.TimeoutExpired:
        raise CommandFailed(f"not finished within {timeout:.0f} s: {shown}") from None
    except OSError as error:
        raise CommandFailed(f"cannot run {shown}: {error}") from error
    if done.returncode != 0:
        detail = "\n".join(done.stderr.strip().splitlines()[-TAIL_LINES:])
        raise CommandFailed(f"exit status {done.returncode}: {shown}\n{detail}")
    return done.stdout


@contextmanager
def step(name: str, doing: str) -> Iterator[Log]:
    """Runs one step: prints its start and its time, and explains a failure."""
    here = paths()
    here.logs.mkdir(parents=True, exist_ok=True)
    path = here.logs / f"{name}.log"
    say(f"==> {doing}")
    start = time.monotonic()
    with path.open("wb") as file:
        log = Log(path, file)
        try:
            with reporting(doing, log.progress):
                yield log
        except (ClusterError, OSError) as error:
            took = time.monotonic() - start
            lines = path.read_text(errors="replace").splitlines()[-TAIL_LINES:]
            tail = "\n".join(f"    | {line}" for line in lines)
            kind = UsageError if isinstance(error, UsageError) else ClusterError
            raise kind(
                f"step '{name}' failed after {took:.1f} s: {error}\n{tail}\n    log: {path}"
            ) from error
    say(f"    {doing}: {time.monotonic() - start:.1f} s")


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This environment without the variables that select another Docker engine or cluster.

    Images are for the platform of the engine, so no other platform may be the default either.
    """
    dropped = ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_DEFAULT_PLATFORM", "KUBECONFIG")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return {**kept, **(extra or {})}
