"""PID 1 of the sandbox container: runs the user's code and tells the agent about it.

Standard library only, and plain files: ``python3 -m nanogrid_executor install-launcher DIR`` copies
this module and what it imports to a directory that ``python3 -I -S DIR`` runs anywhere, with no
installation and no environment (see :mod:`nanogrid_executor.install` for the pod's command).

It makes itself undumpable first, so that user code of the same uid can neither trace it nor take
its socket; connects to the agent; and for each ``RUN`` starts a fresh process, streams its output
and enforces its timeout. As PID 1 it ends *every* process of the container when the main one has
ended. It exits like the last execution did, so that the kubelet's exit code can be compared with
the reported one. ``SIGTERM`` (the pod is being deleted) is the same as the agent's ``CANCEL``.

Told so by the agent's first frame it serves a session instead, many executions and processes that
live on between them: :mod:`nanogrid_executor.session_serve`.

``--check`` does nothing but tell whether an image is fit for all this: exit code 0, or 64 with the
reason on stderr. It is 64, too, when the image's Python is older than 3.11.
"""

import ctypes
import os
import signal
import socket
import sys
import time
from typing import Final

from nanogrid_executor import execute, frames, spawn
from nanogrid_executor.signals import Signals

AGENT_SOCKET: Final = "/run/nanogrid/agent.sock"  # names.AGENT_SOCKET, which cannot be imported
CONNECT_SECONDS: Final = 120.0
CONNECT_INTERVAL: Final = 0.02
SEND_SECONDS: Final = 60.0

EXIT_UNSUITABLE: Final = 64  # the image or the kernel cannot run us; also in install.MAIN
EXIT_UNAVAILABLE: Final = 69  # sysexits.h: no agent, or the agent had nothing to run
EXIT_PROTOCOL: Final = 76
EXIT_TERMINATED: Final = 128 + signal.SIGTERM
PR_SET_DUMPABLE: Final = 4


def protect() -> None:
    """Keep processes of the same uid from tracing this one and from reading its memory and files.

    Raises:
        OSError: the kernel refused; then nothing may run here.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_DUMPABLE)")


def connect(path: str, signals: Signals, seconds: float = CONNECT_SECONDS) -> socket.socket | None:
    """Connect to the agent, which may still be starting; None when SIGTERM came first.

    Raises:
        OSError: nobody listened within ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while not signals.terminated:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(SEND_SECONDS)
        try:
            sock.connect(path)
            return sock
        except OSError:
            sock.close()
            if time.monotonic() > deadline:
                raise
        signals.sleep(CONNECT_INTERVAL)
    return None


def serve(sock: socket.socket, signals: Signals) -> int:
    """Run what the agent asks for until it closes the socket; the last execution's exit code."""
    exit_code: int | None = None
    while True:
        if not signals.wait_for(sock):
            return EXIT_TERMINATED if exit_code is None else exit_code
        frame = frames.receive(sock)
        if frame is None:
            return EXIT_UNAVAILABLE if exit_code is None else exit_code
        kind, payload = frame
        if kind == frames.RUN:
            exit_code = execute.Execution(sock, signals, payload).run()
        elif kind == frames.SESSION:
            from nanogrid_executor import session_serve  # late: a batch job does not pay for it

            return session_serve.serve(sock, signals, payload)
        elif kind != frames.CANCEL:  # a CANCEL that comes after the end has nothing to cancel
            raise frames.ProtocolError(f"unexpected frame {kind!r}")


def check() -> int:
    """Do once what a job needs of the image and of the kernel; 0, or ``EXIT_UNSUITABLE``."""
    try:
        protect()
        Signals()
        process = spawn.spawn([sys.executable, "-I", "-S", "-c", ""], "/", {}, with_stdin=False)
        _, status = os.waitpid(process.pid, 0)
    except (OSError, spawn.SpawnError) as error:
        _complain(f"the runtime is unsuitable: {error}")
        return EXIT_UNSUITABLE
    return 0 if status == 0 else EXIT_UNSUITABLE


def main(argv: list[str]) -> int:
    """Entry point; the one optional argument is the agent's socket."""
    if argv[1:] == ["--check"]:
        return check()
    path = argv[1] if len(argv) > 1 else AGENT_SOCKET
    try:
        protect()
        signals = Signals()
        sock = connect(path, signals)
    except OSError as error:
        _complain(f"{path}: {error}")
        return EXIT_UNAVAILABLE
    if sock is None:
        return EXIT_TERMINATED
    try:
        return serve(sock, signals)
    except (OSError, frames.ProtocolError) as error:
        _complain(f"lost the agent: {error}")
        return EXIT_PROTOCOL
    finally:
        sock.close()


def _complain(text: str) -> None:
    print(f"nanogrid launcher: {text}", file=sys.stderr)
