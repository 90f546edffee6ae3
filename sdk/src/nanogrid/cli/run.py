"""``run``, ``submit`` and ``retry``: what starts jobs."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nanogrid import names
from nanogrid.cli import follow, source, tables
from nanogrid.cli.exits import Exit
from nanogrid.cli.faults import Fault, UsageFault
from nanogrid.cli.link import Link, command
from nanogrid.cli.output import Format, Output, emit
from nanogrid.cli.progress import Progress, progress

if TYPE_CHECKING:
    from nanogrid.client import Client
    from nanogrid.client.manifest import Uploaded
    from nanogrid.client.run import Run

Json = dict[str, Any]

File = Annotated[
    str | None, typer.Argument(help="A Python file, a folder with main.py, or - for stdin.")
]
Args = Annotated[list[str] | None, typer.Argument(help="Arguments of the code, after --.")]
Code = Annotated[str | None, typer.Option("-c", help="The code itself.")]
Input = Annotated[
    list[str] | None,
    typer.Option("--input", "-i", help="[NAME=]s3://BUCKET/PREFIX/ or PATH, [:/app/DIR]; again."),
]
Env = Annotated[
    list[str] | None, typer.Option("--env", "-e", help="NAME=VALUE, or NAME to take ours; again.")
]
Memory = Annotated[str | None, typer.Option("--memory", help="Most memory: 256Mi.")]
Cpu = Annotated[str | None, typer.Option("--cpu", help="Most cores: 1 or 500m.")]
Timeout = Annotated[str | None, typer.Option("--timeout", help="For the code: 90, 90s, 5m, 1h.")]
Image = Annotated[str | None, typer.Option("--image", help="Image with python3 >= 3.11.")]
Name = Annotated[str | None, typer.Option("--name", help="Of the job; default: a fresh one.")]
RequestId = Annotated[
    str | None, typer.Option("--request-id", help="Identifies the result; default: the job's uid.")
]
Outputs = Annotated[
    Path | None, typer.Option("--outputs", help="Download the output files into this folder.")
]
Detach = Annotated[bool, typer.Option("--detach", "-d", help="Print the name; do not wait.")]
Keep = Annotated[
    bool, typer.Option("--keep", help="Keep the job; default: it goes an hour after its end.")
]
Local = Annotated[bool, typer.Option("--local", help="Run on this machine, WITHOUT a sandbox.")]


def run(
    link: Link,
    file: File = None,
    args: Args = None,
    code: Code = None,
    inputs: Input = None,
    env: Env = None,
    memory: Memory = None,
    cpu: Cpu = None,
    timeout: Timeout = None,
    image: Image = None,
    name: Name = None,
    request_id: RequestId = None,
    outputs: Outputs = None,
    detach: Detach = False,
    keep: Keep = False,
    local: Local = False,
    output: Output = Format.TABLE,
) -> None:
    """Run code as a job; its stdout is our stdout, its exit code our exit code."""
    if code is not None and file is not None:
        # With -c there is no file: the first word belongs to the code.
        args, file = [file, *(args or [])], None
    stdin = sys.stdin.read() if file == "-" else ""
    text, folder, stem = source.read_code(file, code, stdin)
    wanted = source.Wanted(
        inline=text,
        folder=folder,
        inputs=source.parse_inputs(inputs or []),
        args=tuple(args or ()),
        env=source.parse_env(env or []),
        memory=memory,
        cpu=cpu,
        timeout_seconds=source.parse_timeout(timeout),
        image=image,
        request_id=request_id,
        name=name or source.fresh_name(stem),
        keep=keep,
    )
    if local:
        from nanogrid.cli import local as here

        if detach:
            raise UsageFault("--local and --detach contradict each other", "Leave one out.")
        here.run(wanted, output, outputs)
        return
    _in_cluster(link, wanted, output, outputs, detach)


def _in_cluster(
    link: Link, wanted: source.Wanted, form: Format, outputs: Path | None, detach: bool
) -> None:
    client = link.client()
    with progress(quiet=not form.for_people) as shown:
        started = client.submit(prepare(client, wanted, shown))
        if detach:
            emit_started(started, form)
            return
        shown.changed(started.job)
        result = follow.wait(started, link, shown, form)
    raise typer.Exit(follow.deliver(started, result, form, outputs))


def prepare(client: "Client", wanted: source.Wanted, shown: Progress) -> Json:
    """Upload what lies on this machine; the manifest."""
    inputs = []
    for one in wanted.inputs:
        if one.path is None:
            inputs.append(one.to_spec())
            continue
        stored = _upload(client, one.path, shown)
        bucket, _, key = stored.uri.removeprefix("s3://").partition("/")
        s3 = {"bucket": bucket, "key": key, "sha256": stored.sha256}
        unpack = {"unpack": True} if one.path.is_dir() else {}
        inputs.append({"name": one.name, "s3": s3, "mountPath": one.mount, **unpack})
    archive = None if wanted.folder is None else _upload(client, wanted.folder, shown)
    return wanted.to_job(archive, inputs)


def _upload(client: "Client", path: Path, shown: Progress) -> "Uploaded":
    stored = client.upload(path)
    shown.note(f"uploaded {path}: {stored.uri}, {stored.bytes} bytes")
    return stored


def emit_started(run: "Run", form: Format) -> None:
    """Show a job that was created."""
    job = run.job
    emit(job, form, lambda: f"{job['metadata']['name']}\n", lambda: [tables.job_name(job)])


def submit(
    link: Link,
    file: Annotated[str, typer.Option("--file", "-f", help="YAML or JSON; - for stdin.")],
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Wait for the ends.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Create the ExecutionJobs of a file."""
    code = int(Exit.OK)
    for manifest in list(read_manifests(file)):
        client = link.client(manifest["metadata"].get("namespace"))
        started = client.submit(manifest)
        if not wait:
            emit_started(started, output)
            continue
        with progress(quiet=not output.for_people) as shown:
            result = follow.wait(started, link, shown, output)
        code = code or follow.deliver(started, result, output, None)
    raise typer.Exit(code)


def read_manifests(file: str) -> Iterator[Json]:
    """The jobs of a file.

    Raises:
        UsageFault: it is no YAML, or holds something else or nothing.
    """
    import yaml

    text = sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
    try:
        found = [one for one in yaml.safe_load_all(text) if one is not None]
    except yaml.YAMLError as error:
        raise UsageFault(f"{file} is no YAML: {error}", "Mend the line that is named.") from None
    cure = "`nanogrid init` writes a manifest to begin with."
    if not found:
        raise UsageFault(f"{file} holds no object", cure)
    for number, one in enumerate(found, 1):
        kind = one.get("kind") if isinstance(one, dict) else type(one).__name__
        if kind != names.KIND or one.get("apiVersion") != names.API_VERSION:
            said = f"object {number} of {file} is no {names.KIND} of {names.API_VERSION}: {kind}"
            raise UsageFault(said, cure)
        yield _named(one, f"object {number} of {file}")


def _named(manifest: Json, what: str) -> Json:
    metadata = manifest.get("metadata") or {}
    if metadata.get("name"):
        return manifest
    stem = metadata.get("generateName")
    if not stem:
        raise UsageFault(f"{what} has no metadata.name", "Give name or generateName.")
    rest = {key: value for key, value in metadata.items() if key != "generateName"}
    return manifest | {"metadata": rest | {"name": source.fresh_name(stem)}}


def retry(
    link: Link,
    name: Annotated[str, typer.Argument(help="A job; @latest is the newest.")],
    detach: Detach = False,
    outputs: Outputs = None,
    output: Output = Format.TABLE,
) -> None:
    """Run a job that has ended once more, as a new job."""
    from nanogrid.cli.jobs import find

    old = find(link.client(), name)
    if not old.finished:
        said = f"{old.name} has not ended: {old.phase or 'not seen yet'}"
        raise Fault(said, f"Wait, or stop it: nanogrid cancel {old.name}{link.flags()}")
    with progress(quiet=not output.for_people) as shown:
        started = old.retry()
        if detach:
            emit_started(started, output)
            return
        shown.note(f"{old.name} again, as {started.name}")
        result = follow.wait(started, link, shown, output)
    raise typer.Exit(follow.deliver(started, result, output, outputs))


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
