"""``outputs ls|get`` and ``upload``: files in S3."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nanogrid.cli import follow
from nanogrid.cli.app import job_tables
from nanogrid.cli.app.absent_output import why_absent
from nanogrid.cli.app.command import CommandContext, command, command_group
from nanogrid.cli.app.errors import CliError
from nanogrid.cli.app.options import JobName
from nanogrid.cli.app.output import TABLE, Format, Output, emit, note
from nanogrid.cli.jobs import find
from nanogrid.reasons import Reason
from nanogrid.types import Json

if TYPE_CHECKING:
    from nanogrid.client.jobs.result import Result


def _result(ctx: CommandContext, name: str) -> "Result":
    """The result of a job that has ended and ran its code.

    Raises:
        CliError: the job has not ended, or its code never ran.
    """
    run = find(ctx.client(), name)
    absent = why_absent(run.job, ctx.flags())
    if absent is not None:
        raise absent
    result = run.result
    if result is None:
        hint = f"Wait for its end: nanogrid logs -f {run.name}{ctx.flags()}"
        raise CliError(f"{run.name} has not finished and has no outputs yet", hint)
    return result


def ls(ctx: CommandContext, name: JobName, output: Output = TABLE) -> None:
    """List the output files of a job."""
    result = _result(ctx, name)
    files: list[Json] = result.raw.get("outputs") or []
    left_out = result.raw.get("outputsNote")
    if output.for_people and (left_out or not files):
        note(str(left_out) if files else _no_files(result))
    if not files and output.for_people:
        return
    emit(
        files,
        output,
        lambda: job_tables.outputs_table(files, output is Format.WIDE),
        lambda: [file["path"] for file in files],
    )


def _no_files(result: "Result") -> str:
    if result.reason == Reason.OUTPUT_UPLOAD_FAILED:
        return f"no outputs are stored: {result.message}"
    return str(result.raw.get("outputsNote") or "no outputs; the code wrote no files to output/")


def get(
    ctx: CommandContext,
    name: JobName,
    files: Annotated[list[str] | None, typer.Argument(help="Paths; default: all files.")] = None,
    folder: Annotated[
        Path, typer.Option("--to", help="Target folder; created if missing.")
    ] = Path(),
) -> None:
    """Download output files of a job and verify their SHA-256."""
    result = _result(ctx, name)
    unknown = [path for path in files or [] if path not in result.outputs]
    if unknown:
        available = ", ".join(result.outputs) or "none"
        raise CliError(f"no output {', '.join(unknown)}", f"Available outputs: {available}.")
    if not result.outputs:
        note(_no_files(result))
    follow.download(result, folder, files)


def upload(
    ctx: CommandContext,
    path: Annotated[Path, typer.Argument(help="A file, or a folder, which becomes a ZIP.")],
    key: Annotated[
        str | None, typer.Argument(help="Key in the bucket; default: derived from the checksum.")
    ] = None,
    output: Output = TABLE,
) -> None:
    """Store a file or folder in the bucket and print its URI."""
    if not path.exists():
        raise CliError(f"no file or folder {path}", "Check the path.")
    stored = ctx.client().upload(path, key)
    data = {"uri": stored.uri, "sha256": stored.sha256, "bytes": stored.bytes}
    emit(data, output, lambda: f"{stored.uri}\n", lambda: [stored.uri])


def register(app: typer.Typer) -> None:
    """Add the commands."""
    outputs = command_group(app, "outputs", "Output files of a job.")
    command(outputs, "ls", "nanogrid outputs ls @latest")(ls)
    command(outputs, "get", "nanogrid outputs get @latest chart.png --to ./out")(get)
    command(app, "upload", "nanogrid upload ./sales demo/sales.zip")(upload)
