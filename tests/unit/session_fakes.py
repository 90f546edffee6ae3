"""A sandbox of a few lines that really runs processes, and sessions over it."""

import contextlib
import io
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient

from integration.support import make_task
from nanogrid import names, wire
from nanogrid_executor.paths import Paths
from nanogrid_executor.session.app import create_app
from nanogrid_executor.session.auth import Auth
from nanogrid_executor.session.core import Session
from nanogrid_executor.session.port import ContextInfo, ExecutionEnd, ExecutionOrder, Sink

WAIT_SECONDS = 20.0
RULES = wire.SessionRules(
    idle_timeout_seconds=600, max_lifetime_seconds=3600, execution_timeout_seconds=30
)


class FakeSandbox:
    """A :class:`SandboxPort`: processes of this machine, contexts as dictionaries."""

    def __init__(self, cwd: str) -> None:
        self.cwd = cwd
        self.there = threading.Event()
        self.there.set()
        self.restarts = 0
        self.closed = False
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._interrupted: set[int] = set()
        self._contexts: dict[str, dict[str, Any]] = {}

    @property
    def available(self) -> bool:
        return self.there.is_set()

    def wait_available(self, seconds: float) -> bool:
        return self.there.wait(seconds)

    def run(self, order: ExecutionOrder, sink: Sink) -> ExecutionEnd:
        if order.context is not None:
            return self._in_context(order, sink)
        program = ["bash", "-c"] if order.shell else [sys.executable, "-c"]
        pipe = subprocess.PIPE
        env = {"PATH": "/usr/bin:/bin", **order.env}
        began = time.monotonic()
        process = subprocess.Popen(
            [*program, order.code], cwd=self.cwd, env=env, stdin=pipe, stdout=pipe, stderr=pipe
        )
        self._processes[order.number] = process
        sink.started(1)
        return self._follow(process, order, sink, began)

    def _follow(
        self, process: "subprocess.Popen[bytes]", order: ExecutionOrder, sink: Sink, began: float
    ) -> ExecutionEnd:
        timer = threading.Timer(order.timeout_seconds, process.kill)
        timer.start()
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(order.stdin.encode())
            process.stdin.close()
        while data := process.stdout.read1(65536):
            sink.output("stdout", data)
        sink.output("stderr", process.stderr.read())
        code = process.wait()
        timed_out = not timer.is_alive()
        timer.cancel()
        process.stdout.close()
        process.stderr.close()
        del self._processes[order.number]
        lost = code < 0 and self.closed and order.number not in self._interrupted
        return ExecutionEnd(
            exit_code=None if lost else code if code >= 0 else 128 - code,
            signal=signal.Signals(-code).name if code < 0 else None,
            timed_out=timed_out,
            interrupted=order.number in self._interrupted,
            sandbox_lost=lost,
            duration_millis=int((time.monotonic() - began) * 1000),
            cpu_millis=3,
            peak_memory_bytes=9 << 20,
            memory_source="fake",
        )

    def _in_context(self, order: ExecutionOrder, sink: Sink) -> ExecutionEnd:
        assert order.context is not None
        new = order.context not in self._contexts
        variables = self._contexts.setdefault(order.context, {})
        variables["display"] = sink.display
        sink.started(0)
        out = io.StringIO()
        code = 0
        with contextlib.redirect_stdout(out):
            try:
                exec(order.code, variables)
            except Exception:
                code = 1
                sink.output("stderr", traceback.format_exc().encode())
        sink.output("stdout", out.getvalue().encode())
        return ExecutionEnd(exit_code=code, context_new=new, cpu_millis=1)

    def interrupt(self, number: int) -> bool:
        process = self._processes.get(number)
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
        for process in list(self._processes.values()):
            process.kill()


def make_paths(directory: Path) -> Paths:
    paths = Paths(str(directory))
    for folder in (names.DEFAULT_DATA_PATH, f"{names.WORKSPACE}/artifacts", names.RUN_DIR):
        Path(paths.real(folder)).mkdir(parents=True, exist_ok=True)
    return paths


def session_task(rules: wire.SessionRules = RULES, **changes: Any) -> wire.Task:
    outputs = wire.OutputRules(bucket="", prefix="sessions/r-1/artifacts/", path="artifacts")
    task = make_task(code_inline=None, outputs=outputs, session=rules)
    return replace(task, **changes)


def make_session(
    paths: Paths, task: wire.Task | None = None, sandbox: FakeSandbox | None = None
) -> Session:
    """A session that is ready, and whose numbers begin after those that it had."""
    task = task or session_task()
    session = Session(task, paths, sandbox or FakeSandbox(paths.workspace))
    session.number_from(0)
    return session


def client_of(session: Session, token: str | None = None) -> FlaskClient:
    """A client in the same process; with the token's file there is authorisation."""
    file = Path(session.paths.real(names.SESSION_TOKEN_FILE))
    if token is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{token}\n")
    return create_app(session, Auth(str(file))).test_client()


def wait_until(met: Callable[[], object]) -> None:
    """Wait until a condition holds.

    Raises:
        AssertionError: it does not in time.
    """
    deadline = time.monotonic() + WAIT_SECONDS
    while not met():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.01)


def events_of(chunks: Iterator[Any]) -> Iterator[tuple[str, str]]:
    """Names and data of server-sent events, comments left out."""
    text = ""
    for chunk in chunks:
        text += chunk.decode() if isinstance(chunk, bytes) else chunk
        while "\n\n" in text:
            block, text = text.split("\n\n", 1)
            if block.startswith("event: "):
                name, data = block.split("\n", 1)
                yield name.removeprefix("event: "), data.removeprefix("data: ")
