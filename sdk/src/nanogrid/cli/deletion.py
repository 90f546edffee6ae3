"""``delete``: removes jobs, by name or by filters, after confirmation."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from nanogrid.cli.app import job_tables
from nanogrid.cli.app.command import CommandContext, command
from nanogrid.cli.app.errors import CliError, UsageError, command_hint, confirm
from nanogrid.cli.app.exits import Exit
from nanogrid.cli.app.options import (
    AllNamespaces,
    FunctionFilter,
    LabelFilter,
    OptionalJobNames,
    PhaseFilter,
    Yes,
)
from nanogrid.cli.app.output import TABLE, Format, Output, emit, note
from nanogrid.cli.jobs import find
from nanogrid.cli.source import duration_option
from nanogrid.plurals import counted
from nanogrid.types import Json

if TYPE_CHECKING:
    from nanogrid.client import Client
    from nanogrid.client.jobs.run import Run
    from nanogrid.client.jobs.selection import Selection


def delete(
    ctx: CommandContext,
    jobs: OptionalJobNames = None,
    older: Annotated[
        str | None, typer.Option("--older", help="Jobs that ended longer ago: 30m, 12h, 7d.")
    ] = None,
    phase: PhaseFilter = None,
    labels: LabelFilter = None,
    function: FunctionFilter = None,
    all_namespaces: AllNamespaces = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the jobs; delete nothing.")
    ] = False,
    yes: Yes = False,
    output: Output = TABLE,
) -> None:
    """Delete jobs with their pods, by name or by filters. Filters select ended jobs only.

    Unfinished jobs are selected by their name, or by the filter --phase. Results and outputs in S3
    and Redis stay.
    """
    from nanogrid.client.jobs.selection import Selection

    for flag, text in (("--selector", labels), ("--function", function)):
        if text is not None and not text.strip(" ,"):
            # An empty selector matches all jobs; a script whose variable is empty means none.
            raise UsageError(f"{flag} is empty", "Name what to select, or leave the option out.")
    filtered = any(one is not None for one in (older, phase, labels, function))
    if bool(jobs) == filtered:
        hint = "nanogrid delete JOB...   or   nanogrid delete --older 7d --phase succeeded"
        raise UsageError("either names of jobs or filters are required", hint)
    if jobs and all_namespaces:
        raise UsageError("names and -A exclude each other", "Give the namespace with -n.")
    if older is not None and phase is not None and not phase.terminal:
        raise UsageError(f"no job in the phase {phase.value} has ended", "Remove --older.")
    selection = Selection(
        phase=phase,
        function=function,
        ended_before=duration_option("--older", older),
        ended=phase is None,
    )
    client = ctx.client()
    runs = _named(client, jobs) if jobs else _selected(client, selection, labels, all_namespaces)
    table = job_tables.jobs_table([run.job for run in runs], time.time(), False, all_namespaces)
    if not runs:
        note("no jobs match these filters")
    asked = bool(runs) and not dry_run and not yes
    if asked:
        note(table.rstrip("\n"))
        confirm(f"Delete {counted(len(runs), 'job')}?")
    failed = [] if dry_run else _delete_all(runs)
    deleted = [] if dry_run else [run for run in runs if run not in failed]
    items = [_line(run, run in deleted) for run in runs]
    shown = "" if asked or not runs else table
    emit(
        {"items": items},
        output,
        lambda: shown,
        lambda: [job_tables.job_name(run.job) for run in runs],
    )
    if output is not Format.NAME and output.for_people and runs:
        done, some = ("found", runs) if dry_run else ("deleted", deleted)
        note(f"{done} {counted(len(some), 'job')}")
    if failed:
        raise typer.Exit(Exit.FAILED)


def _named(client: "Client", names: Sequence[str]) -> "list[Run]":
    """The jobs with these names, each once."""
    found = {run.uid: run for run in (find(client, name) for name in names)}
    return list(found.values())


def _selected(
    client: "Client", selection: "Selection", labels: str | None, all_namespaces: bool
) -> "list[Run]":
    now = time.time()
    runs = client.list(all_namespaces=all_namespaces, labels=labels or "")
    return [run for run in runs if selection.accepts(run.job, now)]


def _delete_all(runs: "Sequence[Run]") -> "list[Run]":
    """Delete the jobs as they were listed; returns those that remain."""
    from nanogrid.client import errors

    failed = []
    for run in runs:
        try:
            run.delete()
        except errors.Conflict:
            note(f"{run.name} was not deleted: another job has its name now")
            failed.append(run)
        except errors.Forbidden as error:
            # The other deletions need the same right.
            raise CliError(error.message, command_hint(error), Exit.FORBIDDEN) from None
        except errors.ApiError as error:
            note(f"{run.name} was not deleted: {error.message}")
            failed.append(run)
    return failed


def _line(run: "Run", deleted: bool) -> Json:
    head = {"namespace": run.namespace, "name": run.name, "uid": run.uid}
    return head | {"phase": run.phase, "reason": run.reason, "deleted": deleted}


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "delete", "nanogrid delete --older 7d --phase succeeded --dry-run")(delete)
