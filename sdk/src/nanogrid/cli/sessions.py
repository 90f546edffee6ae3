"""``session new|exec|ls|rm|shell``: sandboxes that stay."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from nanogrid import names
from nanogrid.cli import exits, source, tables
from nanogrid.cli.exits import Exit
from nanogrid.cli.faults import UsageFault
from nanogrid.cli.link import Link, command
from nanogrid.cli.output import Format, Output, emit, say, tell, write
from nanogrid.cli.times import FORM, seconds_of

if TYPE_CHECKING:
    from nanogrid.client.execution import Execution
    from nanogrid.client.session import Session

Json = dict[str, Any]
READY_SECONDS: Final = 300.0
END_SECONDS: Final = 120.0
SHELL: Final = "BASH: "  # code that begins so is the shell's
DEFAULT_CONTEXT: Final = "default"

SessionName = Annotated[str, typer.Argument(metavar="SESSION", help="Name of the session.")]


def _seconds(flag: str, text: str | None) -> int | None:
    try:
        return None if text is None else seconds_of(text)
    except ValueError as error:
        raise UsageFault(f"{flag}: {error}", FORM) from None


def new(
    link: Link,
    name: Annotated[str | None, typer.Argument(help="Name; default: a fresh one.")] = None,
    image: Annotated[str | None, typer.Option("--image", help="Image of the sandbox.")] = None,
    memory: Annotated[str | None, typer.Option("--memory", help="Most memory: 512Mi.")] = None,
    cpu: Annotated[str | None, typer.Option("--cpu", help="Most cores: 1 or 500m.")] = None,
    idle: Annotated[
        str | None, typer.Option("--idle", help="Ends it when unused for so long: 15m.")
    ] = None,
    lifetime: Annotated[
        str | None, typer.Option("--lifetime", help="Ends it after so long: 8h.")
    ] = None,
    env: Annotated[list[str] | None, typer.Option("--env", "-e", help="NAME=VALUE; again.")] = None,
    request_id: Annotated[str | None, typer.Option("--request-id", help="Its session id.")] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Until it is ready.")] = True,
    output: Output = Format.TABLE,
) -> None:
    """Start a session; prints its name once it is ready."""
    rules = {
        "idleTimeoutSeconds": _seconds("--idle", idle),
        "maxLifetimeSeconds": _seconds("--lifetime", lifetime),
    }
    session = link.client().session(
        ready_timeout=READY_SECONDS,
        name=name,
        image=image,
        memory=memory,
        cpu=cpu,
        env=source.parse_env(env or []),
        request_id=request_id,
        session={key: value for key, value in rules.items() if value},
    )
    if wait:
        if output.for_people:
            say(f"{session.name}: waiting until it is ready")
        session.ready()
    session.close()
    job = session.run.job
    emit(job, output, lambda: f"{session.name}\n", lambda: [tables.job_name(job)])


def run_code(
    link: Link,
    name: SessionName,
    code: Annotated[str | None, typer.Argument(help="Python code, or - for stdin.")] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="A file with code.")] = None,
    bash: Annotated[bool, typer.Option("--bash", help="The code is a shell's.")] = False,
    interpreter: Annotated[
        str, typer.Option("--interpreter", help="Context whose variables live on.")
    ] = DEFAULT_CONTEXT,
    process: Annotated[bool, typer.Option("--process", help="In a fresh process.")] = False,
    timeout: Annotated[str | None, typer.Option("--timeout", help="For this code: 90s.")] = None,
    output: Output = Format.TABLE,
) -> None:
    """Run code in a session; variables live on. Its output is ours, its exit code too."""
    if (code is None) == (file is None):
        raise UsageFault("give exactly one of CODE and --file", "nanogrid session exec S 'x = 1'")
    text = file.read_text("utf-8") if file else sys.stdin.read() if code == "-" else str(code)
    session = link.client().attach(name, ready_timeout=READY_SECONDS)
    quiet = not output.for_people
    seconds = _seconds("--timeout", timeout)
    try:
        session.ready()
        done = execute(
            session, SHELL + text if bash else text, interpreter, process, seconds, quiet
        )
    finally:
        session.close()
    if not output.as_text:
        emit(done.raw, output, str, lambda: [str(done.number)])
    raise typer.Exit(exits.of_execution(done.raw))


def execute(
    session: "Session",
    code: str,
    context: str,
    process: bool = False,
    timeout: int | None = None,
    quiet: bool = False,
) -> "Execution":
    """Run code and show what it prints while it does; Ctrl-C interrupts it."""
    heard = None if quiet else write
    try:
        done = session.execute(
            code,
            None if process else context,
            timeout=timeout,
            on_stdout=heard,
            on_stderr=None if quiet else tell,
        )
    except KeyboardInterrupt:
        session.interrupt()
        raise
    if not quiet:
        _show_results(done)
    return done


def _show_results(done: "Execution") -> None:
    for one in done.results:
        if one.png is not None:
            say(f"[a picture of {len(one.png)} bytes: -o json shows it]")
        elif one.text is not None:
            write(f"{one.text}\n")
    if done.sandbox_restarted:
        say("the sandbox was restarted: variables are gone")
    if not done.success and done.reason != "NonZeroExit":
        say(f"error: {done.reason}: {done.error or ''}".rstrip(": "))


def ls(
    link: Link,
    all_namespaces: Annotated[
        bool, typer.Option("--all-namespaces", "-A", help="Of all namespaces.")
    ] = False,
    ended: Annotated[bool, typer.Option("--ended", help="Those that have ended, too.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """List sessions."""
    runs = link.client().list(all_namespaces=all_namespaces)
    found = [
        run.job
        for run in runs
        if run.job["spec"].get("mode") == names.MODE_SESSION and (ended or not run.finished)
    ]
    if not found and output.as_text:
        say("no sessions")
        return
    emit(
        found,
        output,
        lambda: tables.sessions_table(found, time.time()),
        lambda: [tables.job_name(job) for job in found],
    )


def rm(
    link: Link,
    sessions: Annotated[list[str], typer.Argument(metavar="SESSION...", help="Names.")],
    force: Annotated[bool, typer.Option("--force", help="At once; without its artifacts.")] = False,
) -> None:
    """End sessions, wait until their artifacts are stored, and remove them."""
    client = link.client()
    for name in sessions:
        session = client.attach(name)
        if not force and not session.run.finished:
            session.end("removed by the command line", timeout=END_SECONDS)
        session.run.delete()
        session.close()
        say(f"{name} is removed")


def shell(
    link: Link,
    name: SessionName,
    interpreter: Annotated[
        str, typer.Option("--interpreter", help="Context whose variables live on.")
    ] = DEFAULT_CONTEXT,
) -> None:
    """Type Python in a session; `!ls` runs a shell's command; Ctrl-D leaves, the session stays."""
    session = link.client().attach(name, ready_timeout=READY_SECONDS)
    try:
        session.ready()
        if sys.stdin.isatty():
            import readline  # noqa: F401 importing it gives input() its history

            say(f"session {name}; !COMMAND is the shell's, Ctrl-D leaves")
        while (code := read_block()) is not None:
            if not code.strip():
                continue
            text = SHELL + code[1:] if code.startswith("!") else code
            try:
                execute(session, text, interpreter)
            except KeyboardInterrupt:
                say("interrupted")
    finally:
        session.close()
    raise typer.Exit(Exit.OK)


def read_block() -> str | None:
    """One complete statement from stdin; None at its end."""
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
            return text  # the session's Python says what is wrong


def register(app: typer.Typer) -> None:
    """Add the commands."""
    sessions = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    command(sessions, "new", "nanogrid session new analysis --idle 15m --memory 512Mi")(new)
    command(
        sessions, "exec", "nanogrid session exec analysis 'x = 41; print(x + 1)'", exit_codes=True
    )(run_code)
    command(sessions, "ls", "nanogrid session ls -A")(ls)
    command(sessions, "rm", "nanogrid session rm analysis")(rm)
    command(sessions, "shell", "nanogrid session shell analysis")(shell)
    app.add_typer(sessions, name="session", help="Sandboxes that stay and run code again.")
