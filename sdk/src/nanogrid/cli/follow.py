"""Waits for a job, shows its output meanwhile, then shows the result and downloads outputs."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from nanogrid import wire
from nanogrid.cli.app import exits, job_tables
from nanogrid.cli.app.command import CommandContext
from nanogrid.cli.app.errors import print_error
from nanogrid.cli.app.exits import Exit
from nanogrid.cli.app.output import (
    Format,
    emit,
    note,
    streams_are_one,
    write_stderr,
    write_stdout,
)
from nanogrid.cli.app.progress import Progress, make_progress, summary
from nanogrid.hints import Surface, hint_for, without_hint
from nanogrid.lifecycle import Phase
from nanogrid.types import Json

if TYPE_CHECKING:
    from nanogrid.client.callbacks import OutputCallbacks
    from nanogrid.client.jobs.result import Result
    from nanogrid.client.jobs.run import Run


def wait(run: "Run", ctx: CommandContext, progress: Progress, output_format: Format) -> "Result":
    """Wait for the end of a job; with a text format, show its output while it runs.

    Raises:
        typer.Exit: on Ctrl-C. The job continues; a note says how to follow or cancel it.
    """
    try:
        listeners = output_listeners(progress, output_format)
        return run.wait(
            on_change=lambda changed: progress.update(changed.job),
            on_stdout=listeners.stdout,
            on_stderr=listeners.stderr,
            on_output=listeners.both,
            on_note=listeners.note,
            exact=listeners.exact,
        )
    except KeyboardInterrupt:
        progress.hide()
        name, flags = run.name, ctx.flags()
        note(f"\n{name} continues. Follow it: nanogrid logs -f {name}{flags}")
        note(f"Status: nanogrid get {name}{flags}. Cancel: nanogrid cancel {name}{flags}")
        raise typer.Exit(Exit.CANCELLED) from None


def run_job(
    ctx: CommandContext,
    output_format: Format,
    outputs: Path | None,
    detach: bool,
    start: Callable[[Progress], "Run"],
) -> None:
    """Start a job, wait for its end and show the result; with ``detach`` show its name only.

    Raises:
        typer.Exit: with the exit code of the result.
    """
    with make_progress(quiet=not output_format.for_people) as progress:
        run = start(progress)
        if detach:
            show_started(run, output_format)
            return
        progress.update(run.job)
        result = wait(run, ctx, progress, output_format)
    raise typer.Exit(deliver(run, result, output_format, outputs))


def show_started(run: "Run", output_format: Format) -> None:
    """Show a job that was created."""
    job = run.job
    emit(job, output_format, lambda: f"{run.name}\n", lambda: [job_tables.job_name(job)])


def output_listeners(progress: Progress, output_format: Format) -> "OutputCallbacks":
    """The functions that receive the code's output while it runs.

    If stdout and stderr are the same terminal, file or pipe, the log need not be split. Then both
    are live on every cluster.
    """
    from nanogrid.client.callbacks import OutputCallbacks

    if not output_format.as_text:
        return OutputCallbacks()

    def after_progress(write: Callable[[str], None]) -> Callable[[str], None]:
        def listener(text: str) -> None:
            progress.hide()
            write(text)

        return listener

    notes = after_progress(note)
    if streams_are_one():
        return OutputCallbacks(both=after_progress(write_stdout), note=notes, exact=True)
    stdout, stderr = after_progress(write_stdout), after_progress(write_stderr)
    return OutputCallbacks(stdout=stdout, stderr=stderr, note=notes, exact=True)


def deliver(run: "Run", result: "Result", output_format: Format, outputs: Path | None) -> int:
    """Show a result after its live output and download its outputs; returns the exit code."""
    code = show(run.job, result.raw, output_format, printed=output_format.as_text)
    if outputs is not None:
        outputs.mkdir(parents=True, exist_ok=True)
        download(result, outputs, quiet=not output_format.for_people)
    return code


def show(job: Json, raw: Json, output_format: Format, printed: bool = False) -> int:
    """Write stdout or the whole result to stdout, the rest to stderr; returns the exit code.

    Args:
        job: provides name, phase and timings.
        raw: the JSON of the result.
        output_format: with table, stdout receives the code's stdout.
        printed: the code's stdout and stderr were shown while it ran.
    """
    text = "" if printed else str(raw.get("stdout") or "")
    emit(raw, output_format, lambda: text, lambda: [job_tables.job_name(job)])
    code = exits.for_result(raw)
    if output_format.for_people:
        if not printed:
            _show_streams(raw)
        _show_outcome(job, raw, code)
    return code


def job_of(name: str, raw: Json) -> Json:
    """A job with name, phase, reason and timings of a result, for a run without a job."""
    succeeded = raw.get("status") == wire.STATUS_SUCCESS
    phase = (Phase.SUCCEEDED if succeeded else Phase.FAILED).value
    timings = raw.get("timings") or {}
    status = {"phase": phase, "reason": raw.get("reason"), "timings": timings}
    return {"metadata": {"name": name}, "status": status}


def _show_streams(raw: Json) -> None:
    if raw.get("stderr"):
        write_stderr(str(raw["stderr"]).rstrip("\n") + "\n")
    for stream in ("stdout", "stderr"):
        if raw.get(f"{stream}Truncated"):
            note(f"{stream} was shortened; full text: {raw.get(f'{stream}Url') or 'not stored'}")


def _show_outcome(job: Json, raw: Json, code: int) -> None:
    for stream in ("stdout", "stderr"):
        if raw.get(f"{stream}Encoding") == wire.ENCODING_BINARY:
            place = raw.get(f"{stream}Url") or "not stored"
            note(f"{stream} is not UTF-8 text; its exact bytes: {place}")
    note(summary(job))
    if code == Exit.OK:
        if raw.get("outputsNote"):
            note(f"warning: {raw['outputsNote']}")
        return
    reason = raw.get("reason", "")
    message = without_hint(reason, str(raw.get("message") or reason)).strip()
    print_error(message, hint_for(reason, Surface.CLI, job["metadata"]["name"]))


def download(
    result: "Result", folder: Path, paths: Sequence[str] | None = None, quiet: bool = False
) -> None:
    """Download output files into a folder; all of them by default."""
    from nanogrid.client.downloads import inside

    for path in paths or list(result.outputs):
        target = inside(folder, path)
        result.outputs[path].download(target)
        if not quiet:
            note(f"saved {target}")
