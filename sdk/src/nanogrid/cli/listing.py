"""``list``: the jobs of a namespace, and their changes."""

import time
from typing import TYPE_CHECKING

import typer

from nanogrid.cli.app import job_tables
from nanogrid.cli.app.changes import print_changes
from nanogrid.cli.app.command import CommandContext, command
from nanogrid.cli.app.errors import UsageError
from nanogrid.cli.app.options import (
    AllNamespaces,
    FunctionFilter,
    LabelFilter,
    Limit,
    PhaseFilter,
    Since,
    Watch,
)
from nanogrid.cli.app.output import TABLE, Format, Output, emit, note, without_noise
from nanogrid.cli.source import duration_option
from nanogrid.types import Json

if TYPE_CHECKING:
    from nanogrid.client import Client
    from nanogrid.client.jobs.selection import Selection


def list_jobs(
    ctx: CommandContext,
    phase: PhaseFilter = None,
    labels: LabelFilter = None,
    function: FunctionFilter = None,
    since: Since = None,
    limit: Limit = None,
    all_namespaces: AllNamespaces = False,
    watch: Watch = False,
    output: Output = TABLE,
) -> None:
    """List jobs, newest first."""
    from nanogrid.client.jobs.selection import Selection

    seconds = duration_option("--since", since)
    selection = Selection(phase=phase, function=function, since=seconds)
    client = ctx.client()
    if watch:
        if limit is not None:
            raise UsageError("--limit and --watch exclude each other", "Use only one of them.")
        _watch(client, selection, labels or "", all_namespaces, output)
        return
    runs = client.list(
        phase, all_namespaces, labels or "", function=function, since=seconds, limit=limit
    )
    jobs = [run.job for run in runs]
    if not jobs and output.as_text:
        where = "any namespace" if all_namespaces else client.cluster.namespace
        filtered = any((phase, labels, function, since))
        note(f"no jobs in {where}" + (" match these filters" if filtered else ""))
        return
    wide = output is Format.WIDE
    emit(
        jobs,
        output,
        lambda: job_tables.jobs_table(jobs, time.time(), wide, all_namespaces),
        lambda: [job_tables.job_name(job) for job in jobs],
    )


def _watch(
    client: "Client", selection: "Selection", labels: str, all_namespaces: bool, output: Format
) -> None:
    def document(event: Json) -> Json | None:
        if not selection.accepts(event["object"], time.time()):
            return None
        return event | {"object": without_noise(event["object"])}

    wide = output is Format.WIDE
    print_changes(
        client,
        all_namespaces=all_namespaces,
        output=output,
        document=document,
        name=job_tables.job_name,
        table=lambda job: job_tables.jobs_table([job], time.time(), wide, all_namespaces),
        labels=labels,
    )


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "list", "nanogrid list --phase failed --since 1d --limit 20")(list_jobs)
