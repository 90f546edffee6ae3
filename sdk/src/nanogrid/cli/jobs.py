"""``list``, ``get``, ``logs``, ``why``, ``cancel`` and ``top``: show and stop jobs."""

import json
import time
from typing import TYPE_CHECKING, Annotated, Final

import typer

from nanogrid import names
from nanogrid.cli import top, why
from nanogrid.cli.app import job_tables
from nanogrid.cli.app.command import CommandContext, command
from nanogrid.cli.app.errors import CliError, UsageError
from nanogrid.cli.app.options import AllNamespaces, Follow, JobName
from nanogrid.cli.app.output import TABLE, Format, Output, emit, note, write_logs, write_stdout
from nanogrid.cli.app.progress import summary
from nanogrid.cli.source import duration_option
from nanogrid.types import Json

if TYPE_CHECKING:
    from nanogrid.client import Client
    from nanogrid.client.jobs.run import Run

LATEST: Final = "@latest"
CANCEL_SECONDS: Final = 300


def find(client: "Client", name: str) -> "Run":
    """Get a job by its name; ``@latest`` is the newest.

    Raises:
        CliError: ``@latest`` in a namespace without jobs.
    """
    if name != LATEST:
        return client.get(name)
    runs = client.list()
    if not runs:
        raise CliError(f"no jobs in {client.cluster.namespace}", "nanogrid run -c 'print(1)'")
    return max(runs, key=lambda run: str(run.job["metadata"]["creationTimestamp"]))


def list_jobs(
    ctx: CommandContext,
    phase: Annotated[str | None, typer.Option("--phase", help="Only jobs in this phase.")] = None,
    all_namespaces: AllNamespaces = False,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Keep printing changes of jobs.")
    ] = False,
    output: Output = TABLE,
) -> None:
    """List jobs, oldest first."""
    client = ctx.client()
    if watch:
        _watch(client, phase, all_namespaces, output)
        return
    jobs = [run.job for run in client.list(phase=phase, all_namespaces=all_namespaces)]
    jobs.sort(key=lambda job: str(job["metadata"].get("creationTimestamp", "")))
    if not jobs and output.as_text:
        where = "any namespace" if all_namespaces else client.cluster.namespace
        note(f"no jobs in {where}")
        return
    emit(
        jobs,
        output,
        lambda: job_tables.jobs_table(jobs, time.time(), all_namespaces),
        lambda: [job_tables.job_name(job) for job in jobs],
    )


def _watch(client: "Client", phase: str | None, all_namespaces: bool, output: Format) -> None:
    from nanogrid.client.kube.paths import jobs

    namespace = None if all_namespaces else client.cluster.namespace
    header = True
    for event in client.cluster.watch(jobs(namespace)):
        job = event["object"]
        if phase and (job.get("status") or {}).get("phase") != phase:
            continue
        if output in (Format.JSON, Format.YAML):
            # One document a line, because the stream has no end.
            write_stdout(json.dumps(event, ensure_ascii=False) + "\n")
        elif output is Format.NAME:
            write_stdout(job_tables.job_name(job) + "\n")
        else:
            text = job_tables.jobs_table([job], time.time(), all_namespaces)
            write_stdout(text if header else text.partition("\n")[2])
            header = False


def get(ctx: CommandContext, name: JobName, output: Output = TABLE) -> None:
    """Show a job."""
    job = find(ctx.client(), name).job
    card = job_tables.job_card(job, time.time())
    emit(job, output, lambda: card, lambda: [job_tables.job_name(job)])


def logs(ctx: CommandContext, name: JobName, follow: Follow = False) -> None:
    """Print the output of a job. After its pod is deleted, the output comes from the result."""
    write_logs(find(ctx.client(), name).exact_logs(follow, on_note=note))


def explain(ctx: CommandContext, name: JobName, output: Output = TABLE) -> None:
    """Explain the state of a job: cause, evidence, hint, timeline."""
    client = ctx.client()
    diagnosis = why.diagnose(*gather(client, find(client, name).job))
    emit(
        diagnosis.to_json(),
        output,
        lambda: why.to_text(diagnosis),
        lambda: [diagnosis.name],
    )


def gather(client: "Client", job: Json) -> tuple[Json, Json | None, list[Json]]:
    """A job, its newest pod, and the Events of both; without what the user cannot read."""
    from nanogrid.client import errors
    from nanogrid.client.kube.paths import events, pods

    cluster, namespace = client.cluster, job["metadata"]["namespace"]
    uid = job["metadata"]["uid"]
    own_pods: list[Json] = []
    own_events: list[Json] = []
    try:
        own_pods = cluster.list(pods(namespace), labels=f"{names.LABEL_JOB_UID}={uid}")
        own_pods.sort(key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")))
        for about in [uid, *(pod["metadata"]["uid"] for pod in own_pods)]:
            own_events += cluster.list(events(namespace), fields=f"involvedObject.uid={about}")
    except errors.Forbidden as error:
        note(f"incomplete: {error.message}")
    return job, own_pods[-1] if own_pods else None, own_events


def cancel(
    ctx: CommandContext,
    jobs: Annotated[list[str], typer.Argument(metavar="NAME...", help="Names of jobs.")],
    wait: Annotated[
        bool, typer.Option("--wait", "-w", help="Wait until the jobs end and outputs are stored.")
    ] = False,
    timeout: Annotated[
        str | None, typer.Option("--timeout", help="Timeout of --wait; default: 5m.")
    ] = None,
) -> None:
    """Cancel jobs. Their output so far is kept."""
    if timeout is not None and not wait:
        raise UsageError("--timeout needs --wait", "Add --wait.")
    seconds = duration_option("--timeout", timeout) or CANCEL_SECONDS
    client = ctx.client()
    cancelled = []
    for name in jobs:
        run = find(client, name)
        if run.finished:
            note(f"{run.name} has already finished: {run.phase}")
            continue
        cancelled.append(run.cancel())
        note(f"{run.name} is being cancelled")
    deadline = time.monotonic() + seconds
    for run in cancelled if wait else ():
        run.wait(max(0.1, deadline - time.monotonic()))
        note(summary(run.job))


def show_top(
    ctx: CommandContext, all_namespaces: AllNamespaces = False, output: Output = TABLE
) -> None:
    """Show memory and CPU time of jobs, largest peak first."""
    runs = ctx.client().list(all_namespaces=all_namespaces)
    usages = top.ranked([run.job for run in runs])
    emit(usages, output, lambda: top.to_text(usages), lambda: [one["name"] for one in usages])


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "list", "nanogrid list --phase Failed -n team")(list_jobs)
    command(app, "get", "nanogrid get @latest -o yaml")(get)
    command(app, "logs", "nanogrid logs -f @latest")(logs)
    command(app, "why", "nanogrid why @latest")(explain)
    command(app, "cancel", "nanogrid cancel report-1a2b3c --wait")(cancel)
    command(app, "top", "nanogrid top -A")(show_top)
