"""A launcher that holds the network of its code, and the agent's side of it in the test."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nanogrid_executor.launcher import frames, network_filter
from nanogrid_executor.paths import Paths
from support.waiting import wait_until

WAIT_SECONDS = 60
# The interfaces of this machine; tests are skipped where there are none.
PLATFORM: tuple[network_filter.Interface, ...] = network_filter.INTERFACES.get(
    os.uname().machine, ()
)

SOURCES = str(Path(network_filter.__file__).parents[2])
# Starts a Python for which seccomp(2) fails, as on a kernel that does not know our flags.
REFUSED = f"""
import ctypes, errno, os, struct, sys
sys.path.insert(0, {SOURCES!r})
from nanogrid_executor.launcher.network_filter import (
    ALLOW, EQUAL, INSTRUCTION, LOAD, REFUSE, RETURN,
)
steps = [(LOAD, 0, 0, 0), (EQUAL, 0, 1, {PLATFORM and PLATFORM[0].seccomp})]
steps += [(RETURN, 0, 0, REFUSE | errno.EINVAL), (RETURN, 0, 0, ALLOW)]
code = ctypes.create_string_buffer(b"".join(INSTRUCTION.pack(*step) for step in steps))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0
given = ctypes.create_string_buffer(struct.pack("HP", 4, ctypes.addressof(code)))
assert libc.prctl(22, 2, given, 0, 0) == 0  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
CANNOT_HOLD = [sys.executable, "-c", REFUSED]


class HeldLauncher:
    """A connected launcher; ``stdout`` and ``end`` are what it has sent so far."""

    def __init__(self, process: subprocess.Popen[bytes], sock: socket.socket) -> None:
        self.process = process
        self.sock = sock
        self.stdout = b""
        self.stderr = b""
        self.pid = 0
        self.end: dict[str, Any] | None = None

    def hold(self) -> str:
        """Ask for the hold; why it is not possible, or nothing."""
        frames.send(self.sock, frames.HOLD)
        frame = frames.receive(self.sock)
        while frame == (frames.READY, b""):
            frame = frames.receive(self.sock)
        assert frame is not None
        assert frame[0] == frames.HELD
        return str(json.loads(frame[1])["error"])

    def start(
        self, code: str, *args: str, timeout: float = WAIT_SECONDS, python: str = sys.executable
    ) -> None:
        """Run Python code; a thread reads what the launcher sends."""
        request = {
            "argv": [python, "-c", code, *args],
            "cwd": "/",
            "env": {},
            "stdin": "",
            "timeoutSeconds": timeout,
            "graceSeconds": WAIT_SECONDS,
            "liveMemory": False,
        }
        frames.send_json(self.sock, frames.RUN, request)
        threading.Thread(target=self._read, daemon=True).start()

    def open(self) -> float:
        """Say that the network is proven; the time of just before."""
        now = time.monotonic()
        frames.send(self.sock, frames.OPEN)
        return now

    def cancel(self) -> None:
        frames.send(self.sock, frames.CANCEL)

    def wait_for(self, text: str) -> None:
        """Wait until the code has printed this."""
        wait_until(lambda: text.encode() in self.stdout or self.end is not None)
        assert text.encode() in self.stdout, (self.stdout, self.stderr, self.end)

    def wait(self) -> dict[str, Any]:
        """Wait for the end; the payload of ``EXITED``."""
        wait_until(lambda: self.end is not None)
        assert self.end is not None
        return self.end

    def succeed(self) -> str:
        """What the code has printed when it has ended with exit code 0."""
        end = self.wait()
        assert (end["exitCode"], end["error"]) == (0, None), (end, self.stderr.decode())
        return self.stdout.decode()

    def _read(self) -> None:
        while (frame := frames.receive(self.sock)) is not None:
            kind, payload = frame
            if kind == frames.STDOUT:
                self.stdout += payload
            elif kind == frames.STDERR:
                self.stderr += payload
            elif kind == frames.STARTED:
                self.pid = json.loads(payload)["pid"]
            elif kind == frames.EXITED:
                self.end = json.loads(payload)
                return


@contextmanager
def launcher(
    paths: Paths, directory: str, python: list[str] | None = None, *options: str
) -> Iterator[HeldLauncher]:
    """A launcher that has connected; the end of the block kills it. ``python`` starts it."""
    command = python or [sys.executable]
    os.makedirs(paths.run_dir, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(paths.socket)
        listener.listen(1)
        listener.settimeout(WAIT_SECONDS)
        process = subprocess.Popen([*command, "-I", "-S", directory, paths.socket, *options])
        try:
            sock, _ = listener.accept()
            sock.settimeout(None)
            with sock:
                yield HeldLauncher(process, sock)
        finally:
            process.kill()
            process.wait()


def is_held(pid: int, number: int | None = None) -> bool:
    """Whether a thread of the process waits in this system call; None: in ``socket``."""
    wanted = PLATFORM[0].socket if number is None else number
    for task in Path(f"/proc/{pid}/task").glob("*/syscall"):
        try:
            if task.read_text().split()[0] == str(wanted):
                return True
        except OSError:
            continue  # the thread has ended
    return False
