"""Waiting for a job in front of the user, and what is left to say and do when it has ended."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from nanogrid.cli import exits, tables
from nanogrid.cli.exits import Exit
from nanogrid.cli.faults import Fault
from nanogrid.cli.link import Link
from nanogrid.cli.output import Format, emit, say, streams_are_one, tell, write
from nanogrid.cli.progress import Progress, summary
from nanogrid.cli.reasoning import help_of

if TYPE_CHECKING:
    from nanogrid.client.live import Told
    from nanogrid.client.result import Result
    from nanogrid.client.run import Run

Json = dict[str, Any]


def wait(run: "Run", link: Link, shown: Progress, form: Format) -> "Result":
    """Wait for the end; with a form for reading, what the code prints is shown meanwhile.

    Raises:
        typer.Exit: Ctrl-C; the job goes on, and the user is told how to get back to it.
    """
    try:
        told = hearing(shown, form)
        return run.wait(
            on_change=lambda changed: shown.changed(changed.job),
            on_stdout=told.stdout,
            on_stderr=told.stderr,
            on_output=told.both,
            on_note=told.note,
        )
    except KeyboardInterrupt:
        shown.__exit__(None, None, None)
        flags = link.flags()
        say(f"\n{run.name} goes on. Follow it: nanogrid logs -f {run.name}{flags}")
        say(f"Its end: nanogrid get {run.name}{flags}. Stop it: nanogrid cancel {run.name}{flags}")
        raise typer.Exit(Exit.CANCELLED) from None


def hearing(shown: Progress, form: Format) -> "Told":
    """Who hears what the code prints.

    Where stdout and stderr lead to the same place nothing has to tell them apart, so both are live
    on every cluster.
    """
    from nanogrid.client.live import Told

    if not form.as_text:
        return Told()

    def through(use: Callable[[str], None]) -> Callable[[str], None]:
        def hear(text: str) -> None:
            shown.printing()
            use(text)

        return hear

    if streams_are_one():
        return Told(both=through(write), note=through(say))
    return Told(stdout=through(write), stderr=through(tell), note=through(say))


def deliver(run: "Run", result: "Result", form: Format, outputs: Path | None) -> int:
    """Show what is left of a result and download its outputs; the exit code that it means."""
    code = show(run.job, result.raw, form, printed=form.as_text)
    if outputs is not None:
        download(result, outputs, quiet=not form.for_people)
    return code


def show(job: Json, raw: Json, form: Format, printed: bool = False) -> int:
    """Write stdout or the whole result to stdout, the rest to stderr; the exit code.

    Args:
        job: name, phase and timings are taken from it.
        raw: the result's JSON.
        form: with table, stdout gets what the code printed.
        printed: the code's stdout and stderr were written while it ran.
    """
    text = "" if printed else str(raw.get("stdout") or "")
    emit(raw, form, lambda: text, lambda: [tables.job_name(job)])
    code = exits.of_result(raw)
    if form.for_people:
        if not printed:
            _tell_streams(raw)
        _tell(job, raw, code)
    return code


def _tell_streams(raw: Json) -> None:
    if raw.get("stderr"):
        say(str(raw["stderr"]).rstrip("\n"))
    for stream in ("stdout", "stderr"):
        if raw.get(f"{stream}Truncated"):
            whole = raw.get(f"{stream}Url") or "not kept"
            say(f"{stream} was shortened; the whole: {whole}")


def _tell(job: Json, raw: Json, code: int) -> None:
    say(summary(job))
    if code == Exit.OK:
        return
    reason = raw.get("reason", "")
    known = help_of(reason)
    cure = known.cure if known else ""
    say(f"error: {str(raw.get('message') or reason).removesuffix(cure).strip()}")
    if cure:
        say(f"how to mend: {cure}")


def safe_target(folder: Path, path: str) -> Path:
    """Where an output file goes.

    Raises:
        Fault: the name leads out of the folder.
    """
    target = (folder / path).resolve()
    if not target.is_relative_to(folder.resolve()):
        raise Fault(f"the output {path!r} would be written outside of {folder}", "Rename it.")
    return target


def download(result: "Result", folder: Path, quiet: bool) -> None:
    """Download all output files into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for path, output in result.outputs.items():
        target = safe_target(folder, path)
        target.parent.mkdir(parents=True, exist_ok=True)
        output.download(target)
        if not quiet:
            say(f"saved {target}")
