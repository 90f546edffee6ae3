"""``run --local``: runs the executor's agent and launcher as processes of this machine.

Archive checks, input sync, launcher and result are the same as in a cluster. There is no sandbox:
the code has the permissions of the user. Memory limit, CPU limit and image have no effect.

The SDK does not import the executor; it starts ``python -m nanogrid_executor``. The rules for
archives are in :mod:`nanogrid.archive`.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from http.server import HTTPServer
from pathlib import Path
from typing import IO, Final

import typer

from nanogrid import archive, names, wire
from nanogrid.api.runtime import EXECUTION_SECONDS
from nanogrid.cli import follow
from nanogrid.cli.app.errors import CliError
from nanogrid.cli.app.exits import Exit
from nanogrid.cli.app.output import Format, note
from nanogrid.cli.http_serving import QuietHandler, serving
from nanogrid.cli.local_workspace import (
    copy_input,
    copy_outputs,
    local_path,
    outputs_of,
    rejected,
    stamps,
    unpack,
)
from nanogrid.cli.source import InputSource, RunRequest
from nanogrid.reasons import Reason
from nanogrid.types import Json

EXECUTOR: Final = "nanogrid_executor"
GRACE_SECONDS: Final = 10
STOP_SECONDS: Final = 15.0
STDOUT: Final = "stdout.log"  # what the launcher copies of the code's output
SOCKET_PATH_BYTES: Final = 108  # of Linux's sockaddr_un, including the final NUL
AGENT_SECONDS: Final = 60.0  # from the end of the code to the report


def run_local(request: RunRequest, output_format: Format, outputs: Path | None) -> None:
    """Run the code on this machine and show its result like that of a job.

    Raises:
        CliError: the executor is not installed, or the code or an input is rejected.
        typer.Exit: with the exit code of the result.
    """
    if importlib.util.find_spec(EXECUTOR) is None:
        message = "--local needs the package nanogrid-executor, which is not installed"
        hint = "Run pip install ./executor-image in the source tree, or run on a cluster."
        raise CliError(message, hint, Exit.INFRASTRUCTURE)
    if output_format.for_people:
        note("no sandbox: the code runs as a local process with your permissions")
        _note_ignored_options(request)
    root = make_root()
    try:
        task, files = prepare(request, root)
        shipped = stamps(one for one in files if one.is_relative_to(outputs_of(root)))
        if task.inputs:
            _sync(task, root)
        raw = wire.to_dict(_execute(task, root))
        if output_format.as_text:
            _with_exact_stdout(raw, root / STDOUT)
        code = follow.show(follow.job_of(request.name, raw), raw, output_format)
        if outputs is not None:
            copy_outputs(root, outputs, shipped, quiet=not output_format.for_people)
    finally:
        if request.keep:
            note(f"kept {root}")
        else:
            shutil.rmtree(root, ignore_errors=True)
    raise typer.Exit(code)


def _with_exact_stdout(raw: Json, log: Path) -> None:
    """Put the exact stdout into a result that has U+FFFD for some bytes, if the log has all."""
    if raw["stdoutEncoding"] == wire.ENCODING_BINARY and log.stat().st_size == raw["stdoutBytes"]:
        from nanogrid.client import exact_text

        raw |= {"stdout": exact_text.decode(log.read_bytes()), "stdoutTruncated": False}


def make_root() -> Path:
    """Create a temporary directory whose path is short enough for the agent's socket."""
    root = tempfile.mkdtemp(prefix="nanogrid-")
    if len(f"{root}{names.AGENT_SOCKET}".encode()) < SOCKET_PATH_BYTES:
        return Path(root)
    os.rmdir(root)
    return Path(tempfile.mkdtemp(prefix="nanogrid-", dir="/tmp"))


def _note_ignored_options(request: RunRequest) -> None:
    options = {"--memory": request.memory, "--cpu": request.cpu, "--image": request.image}
    options["--pool"] = request.pool
    ignored = [flag for flag, value in options.items() if value]
    if ignored:
        note(f"no effect with --local: {', '.join(ignored)}")


def prepare(request: RunRequest, root: Path) -> tuple[wire.PodTask, list[Path]]:
    """Put code and local inputs in place; the task of the agent, and the files of a folder."""
    for path in (names.WORKSPACE, names.RUN_DIR, os.path.dirname(names.TERMINATION_FILE)):
        local_path(root, path).mkdir(parents=True, exist_ok=True)
    token = local_path(root, names.TOKEN_FILE)
    token.parent.mkdir(parents=True)
    token.write_text("local")
    task = wire.PodTask(
        namespace="local",
        job=request.name,
        uid=request.name,
        attempt=0,
        request_id=request.request_id or request.name,
        execution_timeout_seconds=float(request.timeout_seconds or EXECUTION_SECONDS),
        termination_grace_seconds=float(GRACE_SECONDS),
        command=["python3", names.ENTRYPOINT, *request.args],
        bucket="",
        outputs=wire.OutputRules(
            bucket="", prefix="", path=names.DEFAULT_OUTPUT_DIR, upload_policy="Never"
        ),
        code_inline=request.inline,
        inputs=[_s3_input(one) for one in request.inputs if one.path is None],
        env=request.env,
    )
    for one in request.inputs:
        if one.path is not None:
            copy_input(one.path, one.mount, root)
    code: list[Path] = []
    if request.folder is not None:
        entry = archive.entry_point_of(task.command)
        code = unpack(request.folder, entry, names.WORKSPACE, root)
    return task, code


def _s3_input(one: InputSource) -> wire.Input:
    is_prefix = one.key.endswith("/")
    source = wire.S3Source(
        bucket=one.bucket,
        key=None if is_prefix else one.key,
        prefix=one.key if is_prefix else None,
    )
    return wire.Input(name=one.name, s3=source, mount_path=one.mount)


def _executor(command: str, *args: str) -> list[str]:
    return [sys.executable, "-m", EXECUTOR, command, *args]


def _sync(task: wire.PodTask, root: Path) -> None:
    """Copy S3 inputs with the sync of the pod; credentials come from the environment.

    Raises:
        CliError: the sync failed; the reason is that of a job in a cluster.
    """
    done = subprocess.run(
        _executor("sync", "--root", str(root)),
        env={**os.environ, names.ENV_TASK: wire.dumps(task)},
        capture_output=True,
        text=True,
        timeout=task.input_sync_timeout_seconds + STOP_SECONDS,
        check=False,
    )
    if done.returncode == 0:
        return
    termination = local_path(root, names.TERMINATION_FILE)
    if not termination.exists():
        raise rejected(Reason.SYNC_FAILED, (done.stderr or done.stdout).strip()[-500:])
    failure = wire.loads(wire.SyncFailure, termination.read_text("utf-8"))
    raise rejected(failure.reason, failure.message)


class _ReportServer(HTTPServer):
    """Receives one report, like the operator."""

    report: bytes = b""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(QuietHandler):
    server: _ReportServer

    def do_POST(self) -> None:
        """Store the report."""
        self.server.report = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()


def _execute(task: wire.PodTask, root: Path) -> wire.Result:
    """Run launcher and agent until both end; returns the reported result.

    Raises:
        CliError: the agent sent no report.
        KeyboardInterrupt: on Ctrl-C; all processes have ended.
    """
    launcher = local_path(root, names.LAUNCHER_DIR)
    subprocess.run(_executor("install-launcher", str(launcher)), check=True, timeout=60)
    log = root / "agent.log"
    with serving(_ReportServer()) as server, log.open("wb") as sink:
        url = f"http://127.0.0.1:{server.server_port}{names.RESULTS_PATH}"
        env = {**os.environ, names.ENV_TASK: wire.dumps(task), names.ENV_RESULTS_URL: url}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        agent = _start(_executor("agent", "--root", str(root)), env, sink, sink)
        socket = str(local_path(root, names.AGENT_SOCKET))
        command = [sys.executable, "-I", "-S", str(launcher), socket]
        with (root / STDOUT).open("wb") as stdout:
            sandbox = _start(command, {"PATH": path}, stdout, sink)
        try:
            agent.wait(task.execution_timeout_seconds + GRACE_SECONDS + AGENT_SECONDS)
        except subprocess.TimeoutExpired:
            raise rejected(Reason.AGENT_FAILED, "the agent did not end") from None
        finally:
            _stop(sandbox, agent)
        report = server.report
    if not report:
        tail = log.read_text("utf-8", "replace")[-800:]
        raise rejected(Reason.AGENT_FAILED, f"no report; the agent's log ends with:\n{tail}")
    return wire.loads(wire.Report, report).result


def _start(
    command: list[str], env: dict[str, str], stdout: IO[bytes] | int, stderr: IO[bytes]
) -> "subprocess.Popen[bytes]":
    """Start a process in a new session: Ctrl-C reaches only the CLI, which sends SIGTERM."""
    return subprocess.Popen(command, env=env, stdout=stdout, stderr=stderr, start_new_session=True)


def _stop(*processes: "subprocess.Popen[bytes]") -> None:
    """Stop all processes: SIGTERM stops the code and its children."""
    for process in processes:
        if process.poll() is None:
            process.terminate()
    for process in processes:
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
