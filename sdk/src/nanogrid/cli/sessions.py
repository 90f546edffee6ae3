"""``session new|exec|cp|ls|rm|shell``: sandboxes that keep their state between executions."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from nanogrid import names
from nanogrid.cli import pictures, session_copy, source
from nanogrid.cli.app import exits, job_tables
from nanogrid.cli.app.command import CommandContext, command, command_group
from nanogrid.cli.app.errors import UsageError
from nanogrid.cli.app.exits import Exit
from nanogrid.cli.app.options import (
    AllNamespaces,
    Cpu,
    Env,
    EnvSecret,
    Image,
    Memory,
    PoolOption,
    SessionName,
    SessionNames,
)
from nanogrid.cli.app.output import TABLE, Output, emit, note, write_stderr, write_stdout

if TYPE_CHECKING:
    from nanogrid.client.sessions.execution import Execution
    from nanogrid.client.sessions.session import Session

HELP: Final = "Sandboxes that keep their state and run code repeatedly."
READY_SECONDS: Final = 300.0
END_SECONDS: Final = 120.0
SHELL_PREFIX: Final = "BASH: "  # a session runs code with this prefix in a shell
DEFAULT_CONTEXT: Final = "default"

Interpreter = Annotated[
    str, typer.Option("--interpreter", help="Context whose variables are kept between executions.")
]
Pictures = Annotated[
    Path | None,
    typer.Option("--pictures", metavar="DIR", help="Save displayed pictures in this folder."),
]
HERE: Final = Path()


def new(
    ctx: CommandContext,
    name: Annotated[str | None, typer.Argument(help="Name; default: a unique name.")] = None,
    env: Env = None,
    env_secrets: EnvSecret = None,
    image: Image = None,
    memory: Memory = None,
    cpu: Cpu = None,
    pool: PoolOption = None,
    idle: Annotated[
        str | None, typer.Option("--idle", help="End the session after this idle time: 15m.")
    ] = None,
    lifetime: Annotated[
        str | None, typer.Option("--lifetime", help="End the session after this time: 8h.")
    ] = None,
    request_id: Annotated[
        str | None, typer.Option("--request-id", help="Session id; default: the job's uid.")
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait until the session is ready.")
    ] = True,
    output: Output = TABLE,
) -> None:
    """Start a session and print its name when it is ready."""
    limits = {
        "idleTimeoutSeconds": source.duration_option("--idle", idle),
        "maxLifetimeSeconds": source.duration_option("--lifetime", lifetime),
    }
    session = ctx.client().session(
        ready_timeout=READY_SECONDS,
        name=name,
        image=image,
        memory=memory,
        cpu=cpu,
        pool=pool,
        env=source.parse_env(env or []),
        env_secrets=source.parse_env_secrets(env_secrets or []),
        request_id=request_id,
        session={key: value for key, value in limits.items() if value},
    )
    if wait:
        if output.for_people:
            note(f"{session.name}: waiting until the session is ready")
        session.ready()
    session.close()
    job = session.run.job
    emit(job, output, lambda: f"{session.name}\n", lambda: [job_tables.job_name(job)])


def run_code(
    ctx: CommandContext,
    name: SessionName,
    code: Annotated[str | None, typer.Argument(help="Python code, or - for stdin.")] = None,
    inline: Annotated[str | None, typer.Option("-c", help="Python code, in place of CODE.")] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="File with code.")] = None,
    bash: Annotated[bool, typer.Option("--bash", help="Run the code in a shell.")] = False,
    interpreter: Interpreter = DEFAULT_CONTEXT,
    process: Annotated[
        bool, typer.Option("--process", help="Run the code in a new process, without a context.")
    ] = False,
    keep: Annotated[
        bool,
        typer.Option(
            "--keep-processes",
            help="Processes that the code started continue; with --bash or --process.",
        ),
    ] = False,
    timeout: Annotated[
        str | None, typer.Option("--timeout", help="Timeout of this execution: 90s.")
    ] = None,
    picture_folder: Pictures = None,
    output: Output = TABLE,
) -> None:
    """Run code in a session; variables are kept. Output and exit code are those of the code."""
    if sum(one is not None for one in (code, inline, file)) != 1:
        message = "exactly one of CODE, -c and --file is required"
        raise UsageError(message, "nanogrid session exec SESSION 'x = 1'")
    if keep and not (bash or process):
        message = "--keep-processes is for --bash and --process"
        raise UsageError(message, "A context keeps its processes as long as it lives.")
    from nanogrid.client import source_file

    text = inline if inline is not None else str(code)
    if file or code == "-":
        if file and not bash:
            source_file.refuse_other_kind(file)
        content = file.read_bytes() if file else sys.stdin.buffer.read()
        text = source.decoded(content, str(file or "stdin"))
        if not bash:
            source_file.refuse_other_text(text, file or source_file.STDIN)
    session = ctx.client().attach(name, ready_timeout=READY_SECONDS)
    quiet = not output.for_people
    seconds = source.duration_option("--timeout", timeout)
    try:
        session.ready()
        code_text = SHELL_PREFIX + text if bash else text
        execution = execute(
            session, code_text, interpreter, picture_folder, process, seconds, quiet, keep
        )
    finally:
        session.close()
    if not output.as_text:
        emit(execution.raw, output, str, lambda: [str(execution.number)])
    raise typer.Exit(exits.for_execution(execution.raw))


def execute(
    session: "Session",
    code: str,
    context: str,
    picture_folder: Path | None,
    process: bool = False,
    timeout: int | None = None,
    quiet: bool = False,
    keep_processes: bool = False,
) -> "Execution":
    """Run code and show its output while it runs; Ctrl-C interrupts it."""
    try:
        execution = session.execute(
            code,
            None if process else context,
            timeout=timeout,
            keep_processes=keep_processes,
            on_stdout=None if quiet else write_stdout,
            on_stderr=None if quiet else write_stderr,
        )
    except KeyboardInterrupt:
        session.interrupt()
        raise
    if not quiet:
        _show_results(execution, session.name, picture_folder)
    return execution


def _show_results(execution: "Execution", session: str, picture_folder: Path | None) -> None:
    for position, one in enumerate(execution.results, 1):
        if pictures.has_picture(one.data):
            stem = f"{session}-{execution.number}-{position}"
            pictures.show(one.data, picture_folder, stem)
        elif one.text is not None:
            write_stdout(f"{one.text}\n")
    if execution.sandbox_restarted:
        note("the sandbox was restarted; all variables are lost")
    if not execution.success and execution.reason != "NonZeroExit":
        note(f"error: {execution.reason}: {execution.error or ''}".rstrip(": "))


def ls(
    ctx: CommandContext,
    all_namespaces: AllNamespaces = False,
    ended: Annotated[bool, typer.Option("--ended", help="Include ended sessions.")] = False,
    output: Output = TABLE,
) -> None:
    """List sessions."""
    runs = ctx.client().list(all_namespaces=all_namespaces)
    sessions = [
        run.job
        for run in runs
        if run.job["spec"].get("mode") == names.MODE_SESSION and (ended or not run.finished)
    ]
    if not sessions and output.as_text:
        note("no sessions")
        return
    emit(
        sessions,
        output,
        lambda: job_tables.sessions_table(sessions, time.time(), all_namespaces),
        lambda: [job_tables.job_name(job) for job in sessions],
    )


def rm(
    ctx: CommandContext,
    sessions: SessionNames,
    force: Annotated[
        bool, typer.Option("--force", help="Delete immediately, without storing artifacts.")
    ] = False,
) -> None:
    """End sessions, wait until their artifacts are stored, and delete them."""
    client = ctx.client()
    for name in sessions:
        session = client.attach(name)
        if not force and not session.run.finished:
            session.end("removed by the command line", timeout=END_SECONDS)
        session.run.delete()
        session.close()
        note(f"{name} deleted")


def shell(
    ctx: CommandContext,
    name: SessionName,
    interpreter: Interpreter = DEFAULT_CONTEXT,
    picture_folder: Pictures = HERE,
) -> None:
    """Type Python in a session. `!ls` runs a shell command. Ctrl-D exits; the session continues.

    Pictures are saved as SESSION-EXECUTION-NUMBER.png, by default in the current folder.
    """
    session = ctx.client().attach(name, ready_timeout=READY_SECONDS)
    try:
        session.ready()
        if sys.stdin.isatty():
            import readline  # noqa: F401 the import adds history to input()

            note(f"session {name}: !COMMAND runs a shell command, Ctrl-D exits")
        while (code := read_block()) is not None:
            if not code.strip():
                continue
            text = SHELL_PREFIX + code[1:] if code.startswith("!") else code
            try:
                execute(session, text, interpreter, picture_folder)
            except KeyboardInterrupt:
                note("interrupted")
    finally:
        session.close()
    raise typer.Exit(Exit.OK)


def read_block() -> str | None:
    """Read one complete statement from stdin; None at the end of input."""
    import codeop

    lines: list[str] = []
    while True:
        try:
            prompt = ("... " if lines else ">>> ") if sys.stdin.isatty() else ""
            lines.append(input(prompt))
        except EOFError:
            return "\n".join(lines) or None
        text = "\n".join(lines)
        if text.startswith("!"):
            return text
        try:
            if codeop.compile_command(text) is not None:
                return text
        except (SyntaxError, ValueError, OverflowError):
            return text  # the session's Python reports the error


def register(app: typer.Typer) -> None:
    """Add the commands."""
    sessions = command_group(app, "session", HELP)
    command(sessions, "new", "nanogrid session new analysis --idle 15m --memory 512Mi")(new)
    command(
        sessions, "exec", "nanogrid session exec analysis 'x = 41; print(x + 1)'", exit_codes=True
    )(run_code)
    command(sessions, "cp", session_copy.EXAMPLE)(session_copy.cp)
    command(sessions, "ls", "nanogrid session ls -A")(ls)
    command(sessions, "rm", "nanogrid session rm analysis")(rm)
    command(sessions, "shell", "nanogrid session shell analysis")(shell)
