"""``get``, ``logs``, ``why``, ``cancel`` and ``top``: show and stop jobs."""

import time
from typing import TYPE_CHECKING, Annotated, Final

import typer

from nanogrid import pod_identity
from nanogrid.cli import top, why
from nanogrid.cli.app import job_tables
from nanogrid.cli.app.absent_output import why_absent
from nanogrid.cli.app.changes import print_changes
from nanogrid.cli.app.command import CommandContext, command
from nanogrid.cli.app.completion import LATEST
from nanogrid.cli.app.errors import CliError, UsageError
from nanogrid.cli.app.options import AllNamespaces, Follow, JobName, JobNames, Watch
from nanogrid.cli.app.output import TABLE, Format, Output, emit, note, write_logs
from nanogrid.cli.app.progress import summary
from nanogrid.cli.source import duration_option
from nanogrid.controller_class import ENV
from nanogrid.types import Json

if TYPE_CHECKING:
    from nanogrid.client import Client
    from nanogrid.client.jobs.run import Run

CANCEL_SECONDS: Final = 300


def find(client: "Client", name: str) -> "Run":
    """Get a job by its name; ``@latest`` is the newest.

    Raises:
        CliError: ``@latest`` in a namespace without jobs.
    """
    if name != LATEST:
        return client.get(name)
    runs = client.list(limit=1)
    if not runs:
        raise CliError(f"no jobs in {client.cluster.namespace}", "nanogrid run -c 'print(1)'")
    return runs[0]


def get(ctx: CommandContext, name: JobName, output: Output = TABLE) -> None:
    """Show a job."""
    job = find(ctx.client(), name).job
    card = job_tables.job_card(job, time.time(), output is Format.WIDE)
    emit(job, output, lambda: card, lambda: [job_tables.job_name(job)])


def logs(ctx: CommandContext, name: JobName, follow: Follow = False) -> None:
    """Print the output of a job. After its pod is deleted, the output comes from the result."""
    print_logs(ctx, find(ctx.client(), name), follow)


def print_logs(ctx: CommandContext, run: "Run", follow: bool) -> None:
    """Print the output of a job.

    Raises:
        CliError: the job has no output, because its code has not started or never ran.
    """
    printed = write_logs(run.exact_logs(follow, on_note=note))
    absent = None if printed else why_absent(run.job, ctx.flags())
    if absent is not None:
        raise absent


def explain(ctx: CommandContext, name: JobName, output: Output = TABLE) -> None:
    """Explain the state of a job: cause, evidence, hint, timeline."""
    client = ctx.client()
    job = find(client, name).job
    classes = None if job.get("status") else classes_of(client)
    diagnosis = why.diagnose(*gather(client, job), classes)
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
        found = cluster.list(pods(namespace), labels=pod_identity.selector(uid))
        own_pods = [pod for pod in found if pod_identity.job_uid(pod) == uid]
        own_pods.sort(key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")))
        for about in [uid, *(pod["metadata"]["uid"] for pod in own_pods)]:
            own_events += cluster.list(events(namespace), fields=f"involvedObject.uid={about}")
    except errors.Forbidden as error:
        note(f"incomplete: {error.message}")
    return job, own_pods[-1] if own_pods else None, own_events


def classes_of(client: "Client") -> set[str] | None:
    """The controller classes of all operators; None if the user cannot list Deployments."""
    from nanogrid.cli.installation_checks import OPERATOR, deployments, env_of
    from nanogrid.client import errors

    try:
        found = deployments(client.cluster, OPERATOR)
    except errors.Forbidden:
        return None
    return {env_of(one, ENV) for one in found}


def cancel(
    ctx: CommandContext,
    jobs: JobNames,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until the jobs end and outputs are stored.")
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
    ctx: CommandContext,
    all_namespaces: AllNamespaces = False,
    watch: Watch = False,
    output: Output = TABLE,
) -> None:
    """Show memory and CPU time of jobs: running ones by their use now, then by peak."""
    if watch:
        print_changes(
            ctx.client(),
            all_namespaces=all_namespaces,
            output=output,
            document=lambda event: top.usage(event["object"]),
            name=lambda job: str(job["metadata"]["name"]),
            table=lambda job: top.to_text([top.usage(job)]),
        )
        return
    runs = ctx.client().list(all_namespaces=all_namespaces)
    usages = top.ranked([run.job for run in runs])
    emit(usages, output, lambda: top.to_text(usages), lambda: [one["name"] for one in usages])


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "get", "nanogrid get @latest -o yaml")(get)
    command(app, "logs", "nanogrid logs -f @latest")(logs)
    command(app, "why", "nanogrid why @latest")(explain)
    command(app, "cancel", "nanogrid cancel report-1a2b3c --wait")(cancel)
    command(app, "top", "nanogrid top -A")(show_top)
