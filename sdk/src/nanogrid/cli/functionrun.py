"""``function run|logs``: a function's run, followed like a job of ``run``."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from nanogrid import names
from nanogrid.cli import follow, source
from nanogrid.cli.exits import Exit
from nanogrid.cli.faults import Fault, UsageFault
from nanogrid.cli.link import Link, command
from nanogrid.cli.output import Format, Output, emit, say, write
from nanogrid.cli.progress import progress
from nanogrid.cli.run import Detach, Keep, Outputs, RequestId, emit_started

if TYPE_CHECKING:
    from nanogrid.client.gateway import Gateway

Json = dict[str, Any]
LONGEST_SECONDS: Final = 7 * 86_400.0
GatewayUrl = Annotated[
    str | None,
    typer.Option("--gateway", help="Use this gateway; default: $NANOGRID_URL; '': the cluster."),
]


def gateway_of(url: str | None) -> "Gateway | None":
    """The gateway that is meant; None for the API server."""
    from nanogrid.client.gateway import ENV_URL, Gateway

    found = os.environ.get(ENV_URL, "") if url is None else url
    if not found:
        return None
    if not found.startswith(("http://", "https://")):
        cure = "--gateway http://127.0.0.1:8080, or '' to use the cluster."
        raise UsageFault(f"{found!r} is no URL of a gateway", cure)
    return Gateway.connect(found)


def parse_input(text: str | None) -> Any:
    """JSON that was typed, or that of ``@FILE`` or ``-``.

    Raises:
        UsageFault: it is no JSON.
    """
    if text is None:
        return None
    content, where = text, "--input"
    if text == "-":
        content, where = sys.stdin.read(), "stdin"
    elif text.startswith("@"):
        content, where = Path(text[1:]).read_text("utf-8"), text[1:]
    try:
        return json.loads(content)
    except ValueError as error:
        cure = """--input '{"name": "value"}', --input @FILE.json, or --input - for stdin."""
        raise UsageFault(f"{where} is no JSON: {error}", cure) from None


def run(
    link: Link,
    name: Annotated[str, typer.Argument(metavar="FUNCTION", help="Name of the function.")],
    given: Annotated[
        str | None, typer.Option("--input", "-i", help="JSON; or @FILE, or - for stdin.")
    ] = None,
    version: Annotated[
        int | None, typer.Option("--version", min=1, help="Default: the newest.")
    ] = None,
    memory: Annotated[str | None, typer.Option("--memory", help="Most memory of it.")] = None,
    timeout: Annotated[str | None, typer.Option("--timeout", help="For the code: 90s, 5m.")] = None,
    request_id: RequestId = None,
    outputs: Outputs = None,
    detach: Detach = False,
    keep: Keep = False,
    gateway: GatewayUrl = None,
    output: Output = Format.TABLE,
) -> None:
    """Run a function; its stdout is our stdout, its exit code our exit code."""
    data, seconds = parse_input(given), source.parse_timeout(timeout)
    remote = gateway_of(gateway)
    if remote is not None:
        if memory or seconds or outputs or keep:
            said = "the gateway takes no --memory, --timeout, --outputs and --keep"
            raise UsageFault(said, "Leave them out, or give --gateway '' to use the cluster.")
        _by_gateway(remote, (name, data, request_id, version), detach, output)
        return
    client = link.client()
    with progress(quiet=not output.for_people) as shown:
        client.functions.get(name)  # that it is not there is said now, not by a failed job
        started = client.submit(
            function=name,
            version=version,
            input=data,
            name=None if request_id else source.fresh_name(name),
            memory=memory,
            timeout=seconds,
            request_id=request_id,
            ttl_seconds=None if keep else source.RUN_TTL_SECONDS,
        )
        if detach:
            emit_started(started, output)
            return
        shown.changed(started.job)
        result = follow.wait(started, link, shown, output)
    raise typer.Exit(follow.deliver(started, result, output, outputs))


def _by_gateway(
    gateway: "Gateway", asked: tuple[str, Any, str | None, int | None], detach: bool, form: Format
) -> None:
    from nanogrid.client.ending import Shown, rest_of_both
    from nanogrid.client.result import Result

    request_id = gateway.start(*asked)
    if detach:
        emit({"requestId": request_id}, form, lambda: f"{request_id}\n", lambda: [request_id])
        return
    told, log = follow.hearing(progress(quiet=True), form), Shown()
    try:
        if told.both is not None:
            for text in gateway.logs(request_id):
                told.say("both", log.take(text.encode()))
        raw = gateway.wait(request_id, LONGEST_SECONDS)
    except KeyboardInterrupt:
        say(f"\n{request_id} goes on; the same --request-id finds it again")
        raise typer.Exit(Exit.CANCELLED) from None
    for stream, text in rest_of_both(Result(raw, _no_storage), log, told.remark):
        told.say(stream, text)
    job = {"metadata": {"name": request_id}, "status": _status_of(raw)}
    raise typer.Exit(follow.show(job, raw, form, printed=form.as_text))


def _no_storage() -> Any:
    from nanogrid.client.errors import NotConfigured

    raise NotConfigured("the rest is in S3.", "See stdoutUrl and stderrUrl in -o json.")


def _status_of(raw: Json) -> Json:
    phase = "Succeeded" if raw.get("status") == "SUCCESS" else "Failed"
    return {"phase": phase, "reason": raw.get("reason"), "timings": raw.get("timings") or {}}


def logs(
    link: Link,
    name: Annotated[str, typer.Argument(metavar="FUNCTION", help="Name of the function.")],
    watch: Annotated[bool, typer.Option("--follow", "-f", help="Until the code ends.")] = False,
) -> None:
    """Print what a function's newest run has written."""
    client = link.client()
    runs = [run for run in client.list() if function_of(run.job) == name]
    if not runs:
        client.functions.get(name)
        cure = f"nanogrid function run {name}{link.flags()}"
        raise Fault(f"no run of {name} is left in {client.namespace}", cure)
    for line in runs[0].logs(watch, on_note=say):
        write(f"{line}\n")


def function_of(job: Json) -> str | None:
    """The function that a job runs, if any."""
    spec = job.get("spec") or {}
    labels = job["metadata"].get("labels") or {}
    named = (spec.get("functionRef") or {}).get("name")
    found = named or labels.get(names.LABEL_FUNCTION) or spec.get("functionId")
    return str(found) if found else None


def register(group: typer.Typer) -> None:
    """Add the commands."""
    command(
        group, "run", "nanogrid function run report --input '{\"month\": 10}'", exit_codes=True
    )(run)
    command(group, "logs", "nanogrid function logs report --follow")(logs)
