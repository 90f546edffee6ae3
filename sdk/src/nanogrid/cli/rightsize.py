"""``rightsize``: memory limits that fit what runs have used, and how to set them."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from nanogrid.cli import rightsizing
from nanogrid.cli.faults import Fault, UsageFault
from nanogrid.cli.functions import agree
from nanogrid.cli.jobs import AllNamespaces
from nanogrid.cli.link import Link, command
from nanogrid.cli.output import Format, Output, emit, say
from nanogrid.cli.rightsizing import Advice

if TYPE_CHECKING:
    from nanogrid.client import Client

Json = dict[str, Any]


def rightsize(
    link: Link,
    function: Annotated[
        str | None, typer.Argument(help="One function; default: all, and jobs of like names.")
    ] = None,
    selector: Annotated[
        str | None,
        typer.Option("--job-selector", "-l", help="Jobs with these labels, as one: app=report."),
    ] = None,
    all_namespaces: AllNamespaces = False,
    apply: Annotated[
        bool, typer.Option("--apply", help="Set the functions' memory limits; asks first.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Compare memory limits with what runs have used; 5 measured runs are needed for advice."""
    if sum((function is not None, selector is not None, all_namespaces)) > 1:
        said = "FUNCTION, --job-selector and -A contradict each other"
        raise UsageFault(said, "Give one of them.")
    if apply and selector is not None:
        raise UsageFault("--apply is for functions", "Set the memory in the jobs' manifests.")
    if yes and not apply:
        raise UsageFault("--yes is of --apply", "Give --apply, too.")
    client = link.client()
    functions = _functions(client, function, selector, all_namespaces)
    found = [rightsizing.of_function(one) for one in functions]
    if function is None:
        found += _of_jobs(client, selector, all_namespaces)
    names = [one.name for one in found]
    if not found and output.as_text:
        say("nothing to compare: no function, and no jobs of like names")
        return
    table = rightsizing.to_text(found, all_namespaces)
    # A question is asked below the table; with json and yaml there is one document, at the end.
    if not apply or output.as_text:
        emit([one.to_json() for one in found], output, lambda: table, lambda: names)
    if apply:
        _apply(client, functions, yes)
        if not output.as_text:
            emit([one.to_json() for one in found], output, lambda: table, lambda: names)


def _functions(
    client: "Client", name: str | None, selector: str | None, all_namespaces: bool
) -> list[Json]:
    if selector is not None:
        return []
    if name is not None:
        return [client.functions.get(name)]
    return client.functions.list(all_namespaces)


def _of_jobs(client: "Client", selector: str | None, all_namespaces: bool) -> list[Advice]:
    runs = client.list(all_namespaces=all_namespaces, labels=selector or "")
    jobs = [run.job for run in runs]
    if selector is None:
        return rightsizing.grouped(jobs)
    if not jobs:
        cure = "`kubectl get ej --show-labels` shows them."
        raise Fault(f"no job has the labels {selector}", cure)
    return [rightsizing.of_jobs(client.namespace, selector, jobs)]


def _apply(client: "Client", functions: list[Json], yes: bool) -> None:
    wanted = [
        (one, advice)
        for one in functions
        if (advice := rightsizing.of_function(one)).recommended and advice.saved != 0
    ]
    if not wanted:
        say("nothing to change")
        return
    if not yes:
        said = ", ".join(f"{advice.name} {advice.recommended}" for _, advice in wanted)
        agree(f"Set the memory limits: {said}?", "nanogrid rightsize --apply --yes sets them.")
    for one, advice in wanted:
        client.functions.set_memory(one, str(advice.recommended))
        say(f"{advice.name}: memory limit {advice.recommended}")


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "rightsize", "nanogrid rightsize report --apply")(rightsize)
