"""``run --local``: the executor's own agent and launcher as processes of this machine.

Archive checks, input sync, launcher and result are the cluster's; the sandbox is not: the code
may do whatever the user may do. Memory and cpu limits do not hold, and no image is used.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import IO, Any, Final

import typer

from nanogrid import names, wire
from nanogrid.cli import follow
from nanogrid.cli.exits import Exit
from nanogrid.cli.faults import Fault
from nanogrid.cli.output import Format, say
from nanogrid.cli.reasoning import help_of
from nanogrid.cli.source import Given, Wanted
from nanogrid.reasons import Reason

Json = dict[str, Any]
EXECUTOR: Final = "nanogrid_executor"
LAUNCHER: Final = names.LAUNCHER_DIR
TIMEOUT_SECONDS: Final = 300  # spec.timeouts.executionSeconds
GRACE_SECONDS: Final = 10
STOP_SECONDS: Final = 15.0
SOCKET_PATH_BYTES: Final = 108  # of Linux's sockaddr_un, with the final NUL
AGENT_SECONDS: Final = 60.0  # from the code's end to the report
ENDS: Final = {wire.STATUS_SUCCESS: "Succeeded"}


def run(wanted: Wanted, form: Format, outputs: Path | None) -> None:
    """Run the code here and show its result as that of a job.

    Raises:
        Fault: the executor is not installed, or the code or an input is refused.
        typer.Exit: with the exit code of the result.
    """
    if importlib.util.find_spec(EXECUTOR) is None:
        said = "--local needs the package nanogrid-executor, which is not installed here"
        cure = "pip install ./executor-image of the source tree, or run on a cluster."
        raise Fault(said, cure, Exit.INFRASTRUCTURE)
    if form.for_people:
        say("no sandbox: the code runs as a process of this machine, with your rights")
        _say_what_does_not_count(wanted)
    root = make_root()
    try:
        task = prepare(wanted, root)
        if task.inputs:
            _sync(task, root)
        result = _execute(task, root)
        code = follow.show(_as_job(wanted.name, result), wire.to_dict(result), form)
        if outputs is not None:
            _copy_outputs(root, outputs, form.for_people)
    finally:
        if wanted.keep:
            say(f"kept {root}")
        else:
            shutil.rmtree(root, ignore_errors=True)
    raise typer.Exit(code)


def make_root() -> Path:
    """A temporary directory whose path is short enough for the agent's socket."""
    root = tempfile.mkdtemp(prefix="nanogrid-")
    if len(f"{root}{names.AGENT_SOCKET}".encode()) < SOCKET_PATH_BYTES:
        return Path(root)
    os.rmdir(root)
    return Path(tempfile.mkdtemp(prefix="nanogrid-", dir="/tmp"))


def _say_what_does_not_count(wanted: Wanted) -> None:
    given = {"--memory": wanted.memory, "--cpu": wanted.cpu, "--image": wanted.image}
    unused = [flag for flag, value in given.items() if value]
    if unused:
        say(f"without effect here: {', '.join(unused)}")


def real(root: Path, path: str) -> Path:
    """Where a path of the pod is on this machine."""
    return Path(f"{root}{path}")


def prepare(wanted: Wanted, root: Path) -> wire.Task:
    """Put code and local inputs in place; the task of the agent."""
    for path in (names.WORKSPACE, names.RUN_DIR, os.path.dirname(names.TERMINATION_FILE)):
        real(root, path).mkdir(parents=True, exist_ok=True)
    token = real(root, names.TOKEN_FILE)
    token.parent.mkdir(parents=True)
    token.write_text("local")
    task = wire.Task(
        namespace="local",
        job=wanted.name,
        uid=wanted.name,
        attempt=0,
        request_id=wanted.request_id or wanted.name,
        execution_timeout_seconds=float(wanted.timeout_seconds or TIMEOUT_SECONDS),
        termination_grace_seconds=float(GRACE_SECONDS),
        command=["python3", names.ENTRYPOINT, *wanted.args],
        bucket="",
        outputs=wire.OutputRules(
            bucket="", prefix="", path=names.DEFAULT_OUTPUT_DIR, upload_policy="Never"
        ),
        code_inline=wanted.inline,
        inputs=[_input(one) for one in wanted.inputs if one.path is None],
        env=wanted.env,
    )
    for one in wanted.inputs:
        _place(one, root)
    if wanted.folder is not None:
        _unpack(wanted.folder, task.command, root)
    return task


def _input(one: Given) -> wire.Input:
    is_prefix = one.key.endswith("/")
    source = wire.S3Source(
        bucket=one.bucket,
        key=None if is_prefix else one.key,
        prefix=one.key if is_prefix else None,
    )
    return wire.Input(name=one.name, s3=source, mount_path=one.mount)


def _place(one: Given, root: Path) -> None:
    if one.path is None:
        return
    target = real(root, one.mount)
    if one.path.is_dir():
        shutil.copytree(one.path, target, dirs_exist_ok=True)
    else:
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(one.path, target / one.path.name)


def _unpack(folder: Path, command: list[str], root: Path) -> None:
    """Pack the folder and unpack it as the pod does, so that what is refused there is here."""
    from nanogrid.client.packing import zip_directory
    from nanogrid_executor import archive, entrypoint
    from nanogrid_executor.archive_checks import ArchiveError
    from nanogrid_executor.plan import SyncError

    packed = root / "code.zip"
    packed.write_bytes(zip_directory(folder))
    try:
        with archive.opened(str(packed)) as opened:
            entrypoint.settle(opened, command, ())
            opened.extract(str(real(root, names.WORKSPACE)))
    except (ArchiveError, SyncError) as error:
        raise _refused(error.reason, str(error)) from error


def _refused(reason: str, message: str) -> Fault:
    known = help_of(reason)
    cure = known.cure if known else ""
    return Fault(f"{reason}: {message}", cure, Exit.INFRASTRUCTURE)


def _executor(command: str, *words: str) -> list[str]:
    return [sys.executable, "-m", EXECUTOR, command, *words]


def _sync(task: wire.Task, root: Path) -> None:
    """Copy S3 inputs with the sync of the pod; credentials are those of the environment.

    Raises:
        Fault: they are not all there; the reason is the one that a job would have.
    """
    env = {**os.environ, names.ENV_TASK: wire.dumps(task)}
    done = subprocess.run(
        _executor("sync", "--root", str(root)),
        env=env,
        capture_output=True,
        text=True,
        timeout=task.input_sync_timeout_seconds + STOP_SECONDS,
        check=False,
    )
    if done.returncode == 0:
        return
    said = real(root, names.TERMINATION_FILE)
    if not said.exists():
        raise _refused(Reason.SYNC_FAILED, (done.stderr or done.stdout).strip()[-500:])
    failure = wire.loads(wire.SyncFailure, said.read_text("utf-8"))
    raise _refused(failure.reason, failure.message)


class _Endpoint(HTTPServer):
    """Takes one report, as the operator does."""

    report: bytes = b""


class _Handler(BaseHTTPRequestHandler):
    server: _Endpoint

    def do_POST(self) -> None:
        """Keep the report."""
        self.server.report = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: stderr is the user's."""


@contextmanager
def _endpoint() -> Iterator[_Endpoint]:
    server = _Endpoint(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _execute(task: wire.Task, root: Path) -> wire.Result:
    """Run launcher and agent to their ends; the reported result.

    Raises:
        Fault: there was no report.
        KeyboardInterrupt: Ctrl-C; nothing runs any more.
    """
    launcher = real(root, LAUNCHER)
    subprocess.run(_executor("install-launcher", str(launcher)), check=True, timeout=60)
    log = root / "agent.log"
    with _endpoint() as endpoint, log.open("wb") as sink:
        url = f"http://127.0.0.1:{endpoint.server_port}{names.RESULTS_PATH}"
        env = {**os.environ, names.ENV_TASK: wire.dumps(task), names.ENV_RESULTS_URL: url}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        agent = _start(_executor("agent", "--root", str(root)), env, sink, sink)
        words = [sys.executable, "-I", "-S", str(launcher), str(real(root, names.AGENT_SOCKET))]
        sandbox = _start(words, {"PATH": path}, subprocess.DEVNULL, sink)
        try:
            limit = task.execution_timeout_seconds + GRACE_SECONDS + AGENT_SECONDS
            agent.wait(limit)
        except subprocess.TimeoutExpired:
            raise _refused(Reason.AGENT_FAILED, "it did not end") from None
        finally:
            _stop(sandbox, agent)
        report = endpoint.report
    if not report:
        last = log.read_text("utf-8", "replace")[-800:]
        raise _refused(Reason.AGENT_FAILED, f"there is no report; its log ends with:\n{last}")
    return wire.loads(wire.Report, report).result


def _start(
    words: list[str], env: dict[str, str], stdout: IO[bytes] | int, stderr: IO[bytes]
) -> "subprocess.Popen[bytes]":
    """Start a process in a session of its own: Ctrl-C is ours, and it is told by SIGTERM."""
    return subprocess.Popen(words, env=env, stdout=stdout, stderr=stderr, start_new_session=True)


def _stop(*processes: "subprocess.Popen[bytes]") -> None:
    """Leave nothing running: SIGTERM stops the code and its children."""
    for process in processes:
        if process.poll() is None:
            process.terminate()
    for process in processes:
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _copy_outputs(root: Path, folder: Path, tell: bool) -> None:
    made = real(root, f"{names.WORKSPACE}/{names.DEFAULT_OUTPUT_DIR}")
    for path in sorted(one for one in made.rglob("*") if one.is_file() and not one.is_symlink()):
        target = folder / path.relative_to(made)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
        if tell:
            say(f"saved {target}")


def _as_job(name: str, result: wire.Result) -> Json:
    timings = wire.to_dict(result.timings)
    status = {"phase": ENDS.get(result.status, "Failed"), "reason": result.reason}
    return {"metadata": {"name": name}, "status": status | {"timings": timings}}
