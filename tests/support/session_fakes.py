"""A small sandbox that runs real processes, and sessions that use it."""

import contextlib
import io
import signal
import subprocess
import sys
import threading
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient

from nanogrid import names, wire
from nanogrid_executor.paths import Paths
from nanogrid_executor.session.api.app import create_app
from nanogrid_executor.session.api.auth import Auth
from nanogrid_executor.session.sandbox_protocol import (
    ContextInfo,
    ExecutionEnd,
    ExecutionSpec,
    Sink,
)
from nanogrid_executor.session.session import Session
from support.s3_server import make_task

RULES = wire.SessionRules(
    idle_timeout_seconds=600, max_lifetime_seconds=3600, execution_timeout_seconds=30
)


class FakeSandbox:
    """A :class:`SandboxProtocol`: processes of this machine; a context is a dictionary."""

    def __init__(self, cwd: str) -> None:
        self.cwd = cwd
        self.connected = threading.Event()
        self.connected.set()
        self.restarts = 0
        self.memory_bytes: int | None = None
        self.closed = False
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self._interrupted: set[int] = set()
        self._contexts: dict[str, dict[str, Any]] = {}

    @property
    def available(self) -> bool:
        return self.connected.is_set()

    def wait_available(self, seconds: float) -> bool:
        return self.connected.wait(seconds)

    def run(self, spec: ExecutionSpec, sink: Sink) -> ExecutionEnd:
        if spec.context is not None:
            return self._in_context(spec, sink)
        program = ["bash", "-c"] if spec.shell else [sys.executable, "-c"]
        pipe = subprocess.PIPE
        env = {"PATH": "/usr/bin:/bin", **spec.env}
        began = time.monotonic()
        process = subprocess.Popen(
            [*program, spec.code], cwd=self.cwd, env=env, stdin=pipe, stdout=pipe, stderr=pipe
        )
        self.processes[spec.number] = process
        sink.started(1)
        return self._follow(process, spec, sink, began)

    def _follow(
        self, process: "subprocess.Popen[bytes]", spec: ExecutionSpec, sink: Sink, began: float
    ) -> ExecutionEnd:
        timer = threading.Timer(spec.timeout_seconds, process.kill)
        timer.start()
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(spec.stdin.encode())
            process.stdin.close()
        assert isinstance(process.stdout, io.BufferedReader)
        while data := process.stdout.read1(65536):
            sink.output("stdout", data)
        sink.output("stderr", process.stderr.read())
        code = process.wait()
        timed_out = not timer.is_alive()
        timer.cancel()
        process.stdout.close()
        process.stderr.close()
        del self.processes[spec.number]
        lost = code < 0 and self.closed and spec.number not in self._interrupted
        return ExecutionEnd(
            exit_code=None if lost else code if code >= 0 else 128 - code,
            signal=signal.Signals(-code).name if code < 0 else None,
            timed_out=timed_out,
            interrupted=spec.number in self._interrupted,
            sandbox_lost=lost,
            duration_millis=int((time.monotonic() - began) * 1000),
            cpu_millis=3,
            peak_memory_bytes=9 << 20,
            memory_source="fake",
        )

    def _in_context(self, spec: ExecutionSpec, sink: Sink) -> ExecutionEnd:
        assert spec.context is not None
        new = spec.context not in self._contexts
        variables = self._contexts.setdefault(spec.context, {})
        variables["display"] = sink.display
        sink.started(0)
        out = io.StringIO()
        code = 0
        with contextlib.redirect_stdout(out):
            try:
                exec(spec.code, variables)
            except Exception:
                code = 1
                sink.output("stderr", traceback.format_exc().encode())
        sink.output("stdout", out.getvalue().encode())
        return ExecutionEnd(exit_code=code, context_new=new, cpu_millis=1)

    def interrupt(self, number: int) -> bool:
        process = self.processes.get(number)
        if process is None:
            return False
        self._interrupted.add(number)
        process.terminate()
        return True

    def contexts(self) -> list[ContextInfo]:
        return [
            ContextInfo(name=name, executions=1, busy=False, age_seconds=1.0, memory_bytes=None)
            for name in self._contexts
        ]

    def drop_context(self, name: str) -> bool:
        return self._contexts.pop(name, None) is not None

    def close(self) -> None:
        self.closed = True
        for process in list(self.processes.values()):
            process.kill()


def make_paths(directory: Path) -> Paths:
    paths = Paths(str(directory))
    for folder in (names.DEFAULT_DATA_PATH, f"{names.WORKSPACE}/artifacts", names.RUN_DIR):
        Path(paths.real(folder)).mkdir(parents=True, exist_ok=True)
    return paths


def session_task(rules: wire.SessionRules = RULES, **changes: Any) -> wire.PodTask:
    outputs = wire.OutputRules(bucket="", prefix="sessions/r-1/artifacts/", path="artifacts")
    task = make_task(code_inline=None, outputs=outputs, session=rules)
    return replace(task, **changes)


def make_session(
    paths: Paths,
    task: wire.PodTask | None = None,
    sandbox: FakeSandbox | None = None,
    **options: Any,
) -> Session:
    """A session that accepts executions; continues the numbers of an earlier one in ``paths``."""
    task = task or session_task()
    session = Session(task, paths, sandbox or FakeSandbox(paths.workspace), **options)
    session.begin_numbering(0)
    return session


def client_of(session: Session, token: str | None = None) -> FlaskClient:
    """A client in the same process; with a token, requests must have it."""
    file = Path(session.paths.real(names.SESSION_TOKEN_FILE))
    if token is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{token}\n")
    return create_app(session, Auth(str(file))).test_client()
