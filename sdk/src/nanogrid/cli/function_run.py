"""``function run|logs``: a function's run, followed like the job of ``run``."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from nanogrid.cli import follow, source
from nanogrid.cli.app.command import CommandContext, command
from nanogrid.cli.app.errors import CliError, UsageError
from nanogrid.cli.app.exits import Exit
from nanogrid.cli.app.options import (
    CodeTimeout,
    Detach,
    Follow,
    FunctionName,
    GatewayUrl,
    Keep,
    Memory,
    OutputFolder,
    PoolOption,
    RequestId,
)
from nanogrid.cli.app.output import TABLE, Format, Output, emit, note
from nanogrid.cli.app.progress import Progress, Quiet
from nanogrid.cli.jobs import print_logs

if TYPE_CHECKING:
    from nanogrid.client.gateway import Gateway
    from nanogrid.client.jobs.run import Run

LONGEST_SECONDS: Final = 7 * 86_400.0


def gateway_of(url: str | None) -> "Gateway | None":
    """The gateway to use; None for the API server.

    Raises:
        UsageError: the URL is not an HTTP URL.
    """
    from nanogrid.client.gateway import ENV_URL, Gateway

    chosen = os.environ.get(ENV_URL, "") if url is None else url
    if not chosen:
        return None
    if not chosen.startswith(("http://", "https://")):
        hint = "--gateway http://127.0.0.1:8080, or --gateway '' to use the cluster."
        raise UsageError(f"{chosen!r} is not a gateway URL", hint)
    return Gateway.connect(chosen)


def parse_input(text: str | None) -> Any:
    """Parse JSON text, or the JSON of ``@FILE`` or ``-``.

    Raises:
        UsageError: the text is not JSON.
    """
    if text is None:
        return None
    content, origin = text, "--input"
    if text == "-":
        content, origin = sys.stdin.read(), "stdin"
    elif text.startswith("@"):
        content, origin = Path(text[1:]).read_text("utf-8"), text[1:]
    try:
        return json.loads(content)
    except ValueError as error:
        hint = """--input '{"name": "value"}', --input @FILE.json, or --input - for stdin."""
        raise UsageError(f"{origin} is not JSON: {error}", hint) from None


def run(
    ctx: CommandContext,
    name: FunctionName,
    given: Annotated[
        str | None, typer.Option("--input", "-i", help="Input: JSON, @FILE, or - for stdin.")
    ] = None,
    memory: Memory = None,
    timeout: CodeTimeout = None,
    request_id: RequestId = None,
    outputs: OutputFolder = None,
    detach: Detach = False,
    version: Annotated[
        int | None, typer.Option("--version", min=1, help="Version; default: the newest.")
    ] = None,
    pool: PoolOption = None,
    keep: Keep = False,
    gateway: GatewayUrl = None,
    output: Output = TABLE,
) -> None:
    """Run a function. stdout and exit code are those of the function."""
    data, seconds = parse_input(given), source.duration_option("--timeout", timeout)
    remote = gateway_of(gateway)
    if remote is not None:
        if memory or seconds or outputs or keep:
            message = "a gateway does not support --memory, --timeout, --outputs and --keep"
            raise UsageError(message, "Remove them, or use --gateway '' for the cluster.")
        _by_gateway(remote, (name, data, request_id, version, pool), detach, output)
        return
    client = ctx.client()

    def start(_: Progress) -> "Run":
        client.functions.get(name)  # report a missing function now, not as a failed job
        return client.submit(
            function=name,
            version=version,
            input=data,
            name=None if request_id else source.unique_name(name),
            pool=pool,
            memory=memory,
            timeout=seconds,
            request_id=request_id,
            ttl_seconds=None if keep else source.RUN_TTL_SECONDS,
            keep=keep,
        )

    follow.run_job(ctx, output, outputs, detach, start)


def _by_gateway(
    gateway: "Gateway",
    call: tuple[str, Any, str | None, int | None, str | None],
    detach: bool,
    output_format: Format,
) -> None:
    from nanogrid.client.jobs.remaining_output import LogText, remaining_of_both
    from nanogrid.client.jobs.result import Result

    name, data, wanted, version, pool = call
    request_id = gateway.start(name, data, wanted, version, pool)
    if detach:
        data = {"requestId": request_id}
        emit(data, output_format, lambda: f"{request_id}\n", lambda: [request_id])
        return
    listeners, log = follow.output_listeners(Quiet(), output_format), LogText(exact=False)
    try:
        if listeners.both is not None:
            for text in gateway.logs(request_id):
                listeners.write("both", log.add(text.encode()))
        raw = gateway.wait(request_id, LONGEST_SECONDS)
    except KeyboardInterrupt:
        note(f"\n{request_id} continues. Attach to it: run again with --request-id {request_id}")
        raise typer.Exit(Exit.CANCELLED) from None
    for stream, text in remaining_of_both(Result(raw, _no_storage), log, listeners.add_note):
        listeners.write(stream, text)
    job = follow.job_of(request_id, raw)
    raise typer.Exit(follow.show(job, raw, output_format, printed=output_format.as_text))


def _no_storage() -> Any:
    from nanogrid.client.errors import NotConfigured

    raise NotConfigured("the full text is in S3.", "See stdoutUrl and stderrUrl in -o json.")


def logs(
    ctx: CommandContext,
    name: FunctionName,
    following: Follow = False,
) -> None:
    """Print the output of a function's newest run."""
    client = ctx.client()
    runs = client.list(function=name, limit=1)
    if not runs:
        client.functions.get(name)
        hint = f"nanogrid function run {name}{ctx.flags()}"
        raise CliError(f"no run of {name} exists in {client.namespace}", hint)
    print_logs(ctx, runs[0], following)


def register(group: typer.Typer) -> None:
    """Add the commands."""
    command(
        group, "run", "nanogrid function run report --input '{\"month\": 10}'", exit_codes=True
    )(run)
    command(group, "logs", "nanogrid function logs report --follow")(logs)
