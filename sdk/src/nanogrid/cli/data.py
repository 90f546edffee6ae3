"""``outputs ls|get`` and ``upload``: files in S3."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nanogrid.cli import follow, tables
from nanogrid.cli.faults import Fault
from nanogrid.cli.jobs import JobName, find
from nanogrid.cli.link import Link, command
from nanogrid.cli.output import Format, Output, emit, say

if TYPE_CHECKING:
    from nanogrid.client.result import Result

Json = dict[str, Any]


def _result(link: Link, name: str) -> "Result":
    run = find(link.client(), name)
    result = run.result
    if result is None:
        cure = f"Wait for its end: nanogrid logs -f {run.name}{link.flags()}"
        raise Fault(f"{run.name} has not ended, so it has no outputs yet", cure)
    return result


def ls(link: Link, name: JobName, output: Output = Format.TABLE) -> None:
    """List the output files of a job."""
    result = _result(link, name)
    found: list[Json] = result.raw.get("outputs") or []
    if not found and output.for_people:
        say("no outputs: the code wrote nothing to output/")
        return
    emit(found, output, lambda: tables.outputs_table(found), lambda: [o["path"] for o in found])


def get(
    link: Link,
    name: JobName,
    files: Annotated[list[str] | None, typer.Argument(help="Paths; default: all.")] = None,
    folder: Annotated[
        Path, typer.Option("--to", "-d", help="Folder that gets the files; it is made.")
    ] = Path(),
) -> None:
    """Download output files of a job; each is checked against its SHA-256."""
    result = _result(link, name)
    unknown = [one for one in files or [] if one not in result.outputs]
    if unknown:
        there = ", ".join(result.outputs) or "none"
        raise Fault(f"no output {', '.join(unknown)}", f"There are: {there}.")
    for path in files or list(result.outputs):
        target = follow.safe_target(folder, path)
        target.parent.mkdir(parents=True, exist_ok=True)
        result.outputs[path].download(target)
        say(f"saved {target}")


def upload(
    link: Link,
    path: Annotated[Path, typer.Argument(help="A file, or a folder: it becomes a ZIP.")],
    key: Annotated[
        str | None, typer.Argument(help="Key in the bucket; default: one with the checksum.")
    ] = None,
    output: Output = Format.TABLE,
) -> None:
    """Store a file or folder in the bucket; prints its URI."""
    if not path.exists():
        raise Fault(f"there is no file or folder {path}", "Check the path.")
    stored = link.client().upload(path, key)
    data = {"uri": stored.uri, "sha256": stored.sha256, "bytes": stored.bytes}
    emit(data, output, lambda: f"{stored.uri}\n", lambda: [stored.uri])


def register(app: typer.Typer) -> None:
    """Add the commands."""
    outputs = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    command(outputs, "ls", "nanogrid outputs ls @latest")(ls)
    command(outputs, "get", "nanogrid outputs get @latest chart.png --to ./out")(get)
    app.add_typer(outputs, name="outputs", help="Output files of a job.")
    command(app, "upload", "nanogrid upload ./sales demo/sales.zip")(upload)
