"""``list``, ``get``, ``logs``, ``why``, ``cancel`` and ``top``: what is known of jobs."""

import json
import time
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from nanogrid import names
from nanogrid.cli import tables, top, why
from nanogrid.cli.faults import Fault, UsageFault
from nanogrid.cli.link import Link, command
from nanogrid.cli.output import Format, Output, emit, say, write
from nanogrid.cli.progress import summary
from nanogrid.cli.source import parse_timeout

if TYPE_CHECKING:
    from nanogrid.client import Client
    from nanogrid.client.run import Run

Json = dict[str, Any]
LATEST: Final = "@latest"
CANCEL_SECONDS: Final = 300

JobName = Annotated[str, typer.Argument(help="A job; @latest is the newest.")]
AllNamespaces = Annotated[bool, typer.Option("--all-namespaces", "-A", help="Of all namespaces.")]


def find(client: "Client", name: str) -> "Run":
    """A job by its name, or the newest.

    Raises:
        Fault: there is no job at all.
    """
    if name != LATEST:
        return client.get(name)
    runs = client.list()
    if not runs:
        raise Fault(f"there is no job in {client.cluster.namespace}", "nanogrid run -c 'print(1)'")
    return max(runs, key=lambda run: str(run.job["metadata"]["creationTimestamp"]))


def list_jobs(
    link: Link,
    phase: Annotated[str | None, typer.Option("--phase", help="Only of this phase.")] = None,
    all_namespaces: AllNamespaces = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on with changes.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """List jobs, the oldest first."""
    client = link.client()
    if watch:
        _watch(client, phase, all_namespaces, output)
        return
    found = [run.job for run in client.list(phase=phase, all_namespaces=all_namespaces)]
    found.sort(key=lambda job: str(job["metadata"].get("creationTimestamp", "")))
    if not found and output.as_text:
        where = "any namespace" if all_namespaces else client.cluster.namespace
        say(f"no jobs in {where}")
        return
    emit(
        found,
        output,
        lambda: tables.jobs_table(found, time.time(), all_namespaces),
        lambda: [tables.job_name(job) for job in found],
    )


def _watch(client: "Client", phase: str | None, all_namespaces: bool, form: Format) -> None:
    from nanogrid.client import jobs

    where = None if all_namespaces else client.cluster.namespace
    header = True
    for event in client.cluster.watch(jobs(where)):
        job = event["object"]
        if phase and (job.get("status") or {}).get("phase") != phase:
            continue
        if form in (Format.JSON, Format.YAML):
            write(json.dumps(event, ensure_ascii=False) + "\n")  # one a line: a stream has no end
        elif form is Format.NAME:
            write(tables.job_name(job) + "\n")
        else:
            text = tables.jobs_table([job], time.time(), all_namespaces)
            write(text if header else text.partition("\n")[2])
            header = False


def get(link: Link, name: JobName, output: Output = Format.TABLE) -> None:
    """Show a job."""
    job = find(link.client(), name).job
    emit(job, output, lambda: tables.job_card(job, time.time()), lambda: [tables.job_name(job)])


def logs(
    link: Link,
    name: JobName,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Until the code ends.")] = False,
) -> None:
    """Print what the code has written; of an ended job, from its result."""
    for line in find(link.client(), name).logs(follow, on_note=say):
        write(f"{line}\n")


def explain(link: Link, name: JobName, output: Output = Format.TABLE) -> None:
    """Say why a job is as it is: cause, evidence, cure, timeline."""
    client = link.client()
    found = why.diagnose(*gather(client, find(client, name).job))
    emit(found.to_json(), output, lambda: why.to_text(found), lambda: [found.name])


def gather(client: "Client", job: Json) -> tuple[Json, Json | None, list[Json]]:
    """A job, its newest pod, and the Events of both; without what may not be read."""
    from nanogrid.client import errors, events, pods

    cluster, namespace = client.cluster, job["metadata"]["namespace"]
    uid = job["metadata"]["uid"]
    own: list[Json] = []
    said: list[Json] = []
    try:
        own = cluster.list(pods(namespace), labels=f"{names.LABEL_JOB_UID}={uid}")
        own.sort(key=lambda one: str(one["metadata"].get("creationTimestamp", "")))
        for about in [uid, *(one["metadata"]["uid"] for one in own)]:
            said += cluster.list(events(namespace), fields=f"involvedObject.uid={about}")
    except errors.Forbidden as error:
        say(f"not all could be read: {error.message}")
    return job, own[-1] if own else None, said


def cancel(
    link: Link,
    names_: Annotated[list[str], typer.Argument(metavar="NAME...", help="Jobs.")],
    wait: Annotated[
        bool, typer.Option("--wait", "-w", help="Until they have ended, outputs stored.")
    ] = False,
    timeout: Annotated[
        str | None, typer.Option("--timeout", help="Of --wait; default: 5m.")
    ] = None,
) -> None:
    """Stop jobs; what they have written is kept."""
    if timeout is not None and not wait:
        raise UsageFault("--timeout is of --wait", "Give --wait, too.")
    seconds = parse_timeout(timeout) or CANCEL_SECONDS
    client = link.client()
    stopped = []
    for name in names_:
        run = find(client, name)
        if run.finished:
            say(f"{run.name} has ended already: {run.phase}")
            continue
        stopped.append(run.cancel())
        say(f"{run.name} is being cancelled")
    deadline = time.monotonic() + seconds
    for run in stopped if wait else ():
        run.wait(max(0.1, deadline - time.monotonic()))
        say(summary(run.job))


def show_top(
    link: Link, all_namespaces: AllNamespaces = False, output: Output = Format.TABLE
) -> None:
    """Show what jobs use: peak memory, its limit, cpu time; the largest first."""
    runs = link.client().list(all_namespaces=all_namespaces)
    found = top.ranked([run.job for run in runs])
    emit(found, output, lambda: top.to_text(found), lambda: [one["name"] for one in found])


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "list", "nanogrid list --phase Failed -n team")(list_jobs)
    command(app, "get", "nanogrid get @latest -o yaml")(get)
    command(app, "logs", "nanogrid logs -f @latest")(logs)
    command(app, "why", "nanogrid why @latest")(explain)
    command(app, "cancel", "nanogrid cancel report-1a2b3c --wait")(cancel)
    command(app, "top", "nanogrid top -A")(show_top)
