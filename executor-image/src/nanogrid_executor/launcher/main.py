"""PID 1 of the sandbox container: runs the user's code and reports it to the agent.

Standard library only, and plain files. ``python3 -m nanogrid_executor install-launcher DIR`` copies
this folder to a directory. ``python3 -I -S DIR/__main__.py`` runs it anywhere, without an
installation and without an environment (:mod:`nanogrid_executor.launcher_install` has the pod's
command).

The launcher first makes itself undumpable, so that user code of the same uid can neither trace it
nor take its socket. It then connects to the agent. For each ``RUN`` it starts a new process,
streams the output and enforces the timeout. As PID 1 it kills *every* process of the container
when the main process has ended. It exits with the exit code of the last execution, so that the
kubelet's exit code can be compared with the reported one. ``SIGTERM`` (the pod is being deleted)
has the same effect as the agent's ``CANCEL``.

If the agent's first frame is ``SESSION``, the launcher serves a session instead: many executions,
and processes that outlive them. See :mod:`nanogrid_executor.launcher.session_server`.

``--max-file-bytes=N`` and ``--max-processes=N`` limit user code, see
:class:`nanogrid_executor.launcher.spawn.Limits`.

``--wait-interpreter`` is an option in a pool's pod: an interpreter starts before there is a job,
imports the modules of ``--preload=a,b``, and waits. See :mod:`nanogrid_executor.launcher.waiting`.

``--log-format=json`` and ``--log-job=JSON`` are about the launcher's own lines, see
:mod:`nanogrid_executor.launcher.own_log`.

``--check`` only tests whether an image is suitable: exit code 0, or 64 with the reason on stderr.
The exit code is also 64 when the image's Python is older than 3.11.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
import time

from nanogrid_executor.launcher import batch, frames, spawn
from nanogrid_executor.launcher.signals import Signals
from nanogrid_executor.launcher.values import NamedTuple

TYPE_CHECKING = False  # see nanogrid_executor.launcher.values
if TYPE_CHECKING:
    from typing import Final

    from nanogrid_executor.launcher.network_hold import NetworkHold
    from nanogrid_executor.launcher.waiting import WaitingInterpreter

# names.AGENT_SOCKET and names.WORKSPACE, which cannot be imported
AGENT_SOCKET: Final = "/run/nanogrid/agent.sock"
WORKSPACE: Final = "/app"
CONNECT_SECONDS: Final = 120.0
CONNECT_INTERVAL: Final = 0.02
SEND_SECONDS: Final = 60.0

MAX_FILE_BYTES: Final = "--max-file-bytes"
MAX_PROCESSES: Final = "--max-processes"
WAIT_INTERPRETER: Final = "--wait-interpreter"
PRELOAD: Final = "--preload"
LOG_FORMAT: Final = "--log-format"
LOG_JOB: Final = "--log-job"

EXIT_UNSUITABLE: Final = 64  # the image or the kernel is unsuitable; also in launcher_install
EXIT_UNAVAILABLE: Final = 69  # sysexits.h: no agent, or the agent closed before it sent anything
EXIT_PROTOCOL: Final = 76
EXIT_TERMINATED: Final = 128 + signal.SIGTERM
PR_SET_DUMPABLE: Final = 4


def protect() -> None:
    """Keep processes of the same uid from tracing this one and from reading its memory and files.

    Raises:
        OSError: the kernel refused; then no user code may run here.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_DUMPABLE)")


def connect(path: str, signals: Signals, seconds: float = CONNECT_SECONDS) -> socket.socket | None:
    """Connect to the agent, which may still be starting; None when SIGTERM arrived first.

    Raises:
        OSError: no agent listened within ``seconds``.
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


class Options(NamedTuple):
    """The launcher's options. ``waits_in``: where an interpreter waits; None: there is none."""

    limits: spawn.Limits = spawn.NO_LIMITS
    socket: str = AGENT_SOCKET
    waits_in: str | None = None
    preload: tuple[str, ...] = ()


def serve(sock: socket.socket, signals: Signals, options: Options) -> int:
    """Run the agent's requests until it closes the socket; the last execution's exit code."""
    if options.waits_in is None:
        return _serve(sock, signals, options.limits, None)
    from nanogrid_executor.launcher import waiting  # late: only a pool's pod needs it

    modules = list(options.preload)
    interpreter = waiting.WaitingInterpreter(signals, options.limits, options.waits_in, modules)
    try:
        return _serve(sock, signals, options.limits, interpreter)
    finally:
        interpreter.close()


def _serve(
    sock: socket.socket,
    signals: Signals,
    limits: spawn.Limits,
    interpreter: WaitingInterpreter | None,
) -> int:
    wait_for = signals.wait_for if interpreter is None else interpreter.wait_for
    exit_code: int | None = None
    hold: NetworkHold | None = None
    while True:
        if not wait_for(sock):
            return EXIT_TERMINATED if exit_code is None else exit_code
        frame = frames.receive(sock)
        if frame is None:
            return EXIT_UNAVAILABLE if exit_code is None else exit_code
        kind, payload = frame
        if kind == frames.RUN:
            execution = batch.BatchExecution(sock, signals, payload, limits, interpreter, hold)
            exit_code = execution.run()
        elif kind == frames.HOLD and hold is None:
            hold = _hold_network(sock, interpreter)
        elif kind == frames.OPEN and hold is not None:
            hold.open()
        elif kind == frames.SESSION:
            if interpreter is not None:
                interpreter.close()
            from nanogrid_executor.launcher import (
                session_server,  # late: a batch job does not pay for it
            )

            return session_server.serve(sock, signals, payload, limits)
        elif kind != frames.CANCEL:  # a CANCEL after the end has nothing to cancel
            raise frames.ProtocolError(f"unexpected frame {kind!r}")


def _hold_network(
    sock: socket.socket, interpreter: WaitingInterpreter | None
) -> NetworkHold | None:
    """Let calls for network sockets wait, and tell the agent; None if that is not possible."""
    from nanogrid_executor.launcher.network_hold import (
        NetworkHold,  # late: only a job whose network is not proven yet needs it
    )

    hold, problem = None, ""
    try:
        if interpreter is not None:  # a filter is for processes that start after it
            raise OSError("an interpreter has started already")
        hold = NetworkHold()
    except OSError as error:
        problem = str(error)
    frames.send_json(sock, frames.HELD, {"error": problem})
    return hold


def check() -> int:
    """Use every feature of image and kernel that a job needs; 0, or ``EXIT_UNSUITABLE``."""
    try:
        protect()
        Signals()
        process = spawn.spawn([sys.executable, "-I", "-S", "-c", ""], "/", {}, with_stdin=False)
        _, status = os.waitpid(process.pid, 0)
    except (OSError, spawn.SpawnError) as error:
        # Not as a log: the kubelet makes it the container's message.
        print(f"nanogrid launcher: the runtime is unsuitable: {error}", file=sys.stderr)
        return EXIT_UNSUITABLE
    return 0 if status == 0 else EXIT_UNSUITABLE


def read_options(arguments: list[str]) -> Options:
    """The options in the arguments. No argparse: its import is slow.

    Tests give the agent's socket as an argument, and ``--wait-interpreter=FOLDER``.

    Raises:
        ValueError: an option is unknown, or its value is no number.
    """
    given = {a.partition("=")[0]: a.partition("=")[2] for a in arguments if a.startswith("--")}
    known = {name: given.pop(name, None) for name in (MAX_FILE_BYTES, MAX_PROCESSES)}
    folder, preload = given.pop(WAIT_INTERPRETER, None), given.pop(PRELOAD, "")
    for name in (LOG_FORMAT, LOG_JOB):
        given.pop(name, None)  # only the log reads them
    if given:
        raise ValueError(f"unknown options: {', '.join(given)}")
    file_bytes, processes = (None if text is None else int(text) for text in known.values())
    return Options(
        limits=spawn.Limits(file_bytes, processes),
        socket=next((a for a in arguments if not a.startswith("--")), AGENT_SOCKET),
        waits_in=None if folder is None else folder or WORKSPACE,
        preload=tuple(name for name in preload.split(",") if name),
    )


def main(argv: list[str]) -> int:
    """Entry point. The arguments are options and, for tests, the agent's socket."""
    if argv[1:] == ["--check"]:
        return check()
    options = read_options(argv[1:])
    try:
        protect()
        signals = Signals()
        sock = connect(options.socket, signals)
    except OSError as error:
        _log_error(f"{options.socket}: {error}")
        return EXIT_UNAVAILABLE
    if sock is None:
        return EXIT_TERMINATED
    try:
        return serve(sock, signals, options)
    except (OSError, frames.ProtocolError) as error:
        _log_error(f"lost the agent: {error}")
        return EXIT_PROTOCOL
    finally:
        sock.close()


def _log_error(text: str) -> None:
    from nanogrid_executor.launcher import own_log  # late: almost no job needs it

    own_log.write("ERROR", text)
