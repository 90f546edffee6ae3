"""``run``, ``submit`` and ``retry``: start jobs."""

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nanogrid import names
from nanogrid.cli import follow, source
from nanogrid.cli.app.command import CommandContext, command
from nanogrid.cli.app.errors import CliError, UsageError
from nanogrid.cli.app.exits import Exit
from nanogrid.cli.app.options import (
    CodeTimeout,
    Cpu,
    Detach,
    Env,
    EnvSecret,
    Image,
    JobName,
    Keep,
    Memory,
    OutputFolder,
    PoolOption,
    RequestId,
)
from nanogrid.cli.app.output import TABLE, Output
from nanogrid.cli.app.progress import Progress, make_progress
from nanogrid.types import Json

if TYPE_CHECKING:
    from nanogrid.client import Client
    from nanogrid.client.jobs.run import Run
    from nanogrid.client.s3_uri import Uploaded


File = Annotated[
    str | None, typer.Argument(help="A Python file, a folder with main.py, or - for stdin.")
]
Args = Annotated[list[str] | None, typer.Argument(help="Arguments of the code, after --.")]
Code = Annotated[str | None, typer.Option("-c", help="Python code.")]
Input = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        "-i",
        help="Input [NAME=]s3://BUCKET/PREFIX/[:/app/DIR] or [NAME=]PATH[:/app/DIR]; repeatable.",
    ),
]
Name = Annotated[
    str | None, typer.Option("--name", help="Name of the job; default: a unique name.")
]
Local = Annotated[bool, typer.Option("--local", help="Run on this machine, WITHOUT a sandbox.")]


def run(
    ctx: CommandContext,
    file: File = None,
    args: Args = None,
    code: Code = None,
    inputs: Input = None,
    env: Env = None,
    env_secrets: EnvSecret = None,
    memory: Memory = None,
    cpu: Cpu = None,
    timeout: CodeTimeout = None,
    image: Image = None,
    pool: PoolOption = None,
    name: Name = None,
    request_id: RequestId = None,
    outputs: OutputFolder = None,
    detach: Detach = False,
    keep: Keep = False,
    local: Local = False,
    output: Output = TABLE,
) -> None:
    """Run code as a job and wait. stdout and exit code are those of the code."""
    if code is not None and file is not None:
        # With -c there is no file: the first argument belongs to the code.
        args, file = [file, *(args or [])], None
    stdin = source.decoded(sys.stdin.buffer.read(), "stdin") if file == "-" else ""
    text, folder, stem = source.read_code(file, code, stdin)
    request = source.RunRequest(
        inline=text,
        folder=folder,
        inputs=source.parse_inputs(inputs or []),
        args=tuple(args or ()),
        env=source.parse_env(env or []),
        env_secrets=source.parse_env_secrets(env_secrets or []),
        memory=memory,
        cpu=cpu,
        timeout_seconds=source.duration_option("--timeout", timeout),
        image=image,
        pool=pool,
        request_id=request_id,
        name=name or source.unique_name(stem),
        keep=keep,
    )
    if memory is not None or cpu is not None:
        from nanogrid.client.jobs.manifest import limits_of

        limits_of(memory, cpu)  # before anything is uploaded, and also with --local
    if local:
        from nanogrid.cli.local import run_local

        if detach:
            raise UsageError("--local and --detach exclude each other", "Use only one of them.")
        if request.env_secrets:
            hint = "Give the values with --env."
            raise UsageError("--local cannot read Secrets of a cluster (--env-secret)", hint)
        run_local(request, output, outputs)
        return
    client = ctx.client()
    follow.run_job(
        ctx,
        output,
        outputs,
        detach,
        lambda progress: client.submit(prepare(client, request, progress)),
    )


def prepare(client: "Client", request: source.RunRequest, progress: Progress) -> Json:
    """Upload local files; returns the manifest of the job."""
    inputs = []
    for one in request.inputs:
        if one.path is None:
            inputs.append(one.to_spec())
            continue
        stored = _upload(client, one.path, progress)
        bucket, _, key = stored.uri.removeprefix("s3://").partition("/")
        s3 = {"bucket": bucket, "key": key, "sha256": stored.sha256}
        unpack = {"unpack": True} if one.path.is_dir() else {}
        inputs.append({"name": one.name, "s3": s3, "mountPath": one.mount, **unpack})
    archive = None if request.folder is None else _upload(client, request.folder, progress)
    return request.to_job(archive, inputs)


def _upload(client: "Client", path: Path, progress: Progress) -> "Uploaded":
    stored = client.upload(path)
    progress.note(f"uploaded {path}: {stored.uri}, {stored.bytes} bytes")
    return stored


def submit(
    ctx: CommandContext,
    file: Annotated[str, typer.Option("--file", "-f", help="YAML or JSON file, or - for stdin.")],
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end of each job.")] = False,
    output: Output = TABLE,
) -> None:
    """Create the ExecutionJobs of a file."""
    code = int(Exit.OK)
    for manifest in list(read_manifests(file)):
        client = ctx.client(manifest["metadata"].get("namespace"))
        started = client.submit(manifest)
        if not wait:
            follow.show_started(started, output)
            continue
        with make_progress(quiet=not output.for_people) as progress:
            result = follow.wait(started, ctx, progress, output)
        code = code or follow.deliver(started, result, output, None)
    raise typer.Exit(code)


def read_manifests(file: str) -> Iterator[Json]:
    """The ExecutionJobs of a file.

    Raises:
        UsageError: the file is not YAML, is empty, or contains another kind.
    """
    import yaml

    text = sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
    try:
        documents = [one for one in yaml.safe_load_all(text) if one is not None]
    except yaml.YAMLError as error:
        hint = _to_run(file) or "Fix the reported line."
        raise UsageError(f"{file} is not valid YAML: {error}", hint) from None
    hint = _to_run(file) or "`nanogrid init` writes an example manifest."
    if not documents:
        raise UsageError(f"{file} contains no object", hint)
    for number, one in enumerate(documents, 1):
        kind = one.get("kind") if isinstance(one, dict) else type(one).__name__
        where = f"object {number} of {file}"
        if kind != names.KIND or one.get("apiVersion") != names.API_VERSION:
            message = f"{where} is not an {names.KIND} of {names.API_VERSION}: {kind}"
            raise UsageError(message, hint)
        yield _named(one, where)


def _to_run(file: str) -> str:
    """The hint for code in place of a manifest; empty if the file is none."""
    return f"Run code with: nanogrid run {shlex.quote(file)}" if file.endswith(".py") else ""


def _named(manifest: Json, where: str) -> Json:
    metadata = manifest.get("metadata") or {}
    if metadata.get("name"):
        return manifest
    stem = metadata.get("generateName")
    if not stem:
        raise UsageError(f"{where} has no metadata.name", "Set name or generateName.")
    others = {key: value for key, value in metadata.items() if key != "generateName"}
    return manifest | {"metadata": others | {"name": source.unique_name(stem)}}


def retry(
    ctx: CommandContext,
    name: JobName,
    detach: Detach = False,
    outputs: OutputFolder = None,
    output: Output = TABLE,
) -> None:
    """Run a finished job again, as a new job."""
    from nanogrid.cli.jobs import find

    previous = find(ctx.client(), name)
    if not previous.finished:
        message = f"{previous.name} has not finished: {previous.phase or 'not processed yet'}"
        hint = f"Wait, or cancel it: nanogrid cancel {previous.name}{ctx.flags()}"
        raise CliError(message, hint)

    def start(progress: Progress) -> "Run":
        started = previous.retry()
        if not detach:
            progress.note(f"{previous.name} runs again as {started.name}")
        return started

    follow.run_job(ctx, output, outputs, detach, start)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(
        app,
        "run",
        "nanogrid run report.py --memory 512Mi -i sales=./sales.csv -- --month 10",
        exit_codes=True,
    )(run)
    command(app, "submit", "nanogrid submit -f job.yaml --wait", exit_codes=True)(submit)
    command(app, "retry", "nanogrid retry @latest", exit_codes=True)(retry)
