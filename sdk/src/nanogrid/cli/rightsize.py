"""``rightsize``: compares memory limits with measured memory use, and sets better limits.

The rule is in :mod:`nanogrid.rightsizing`. Runs of a function come from its status, runs of jobs
from the jobs.
"""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Final

import typer

from nanogrid.cli.app.command import CommandContext, command
from nanogrid.cli.app.errors import CliError, UsageError, confirm
from nanogrid.cli.app.formatting import amount
from nanogrid.cli.app.options import AllNamespaces, Yes
from nanogrid.cli.app.output import TABLE, Output, columns, emit, note, with_namespaces
from nanogrid.job_function import function_of
from nanogrid.quantity import quantity
from nanogrid.reasons import Reason
from nanogrid.rightsizing import LEAST_RUNS, MeasuredRun, measured, recommend
from nanogrid.types import Json
from nanogrid.wire import STATUS_SUCCESS

if TYPE_CHECKING:
    from nanogrid.client import Client

# Random suffixes of job names: of this program (hex), and of generateName.
_RANDOM_SUFFIX: Final = re.compile(r"-([0-9a-f]{6,10}|[bcdfghjklmnpqrstvwxz2456789]{5}|\d+)$")


@dataclass(frozen=True)
class MemoryReport:
    """Limit and use of one function, or of one group of jobs; sizes in bytes."""

    kind: str  # Function | Jobs
    namespace: str
    name: str
    runs: int  # measured runs
    missing: int  # measured runs that are still needed for a recommendation
    current: int | None
    p95: int | None
    recommended: str | None  # as in a manifest: 64Mi
    recommended_bytes: int | None
    oom_kills: int

    @property
    def saved(self) -> int | None:
        """Bytes that each run would save; negative if it needs more."""
        if self.current is None or self.recommended_bytes is None:
            return None
        return self.current - self.recommended_bytes

    def to_json(self) -> Json:
        """The report for -o json."""
        data = asdict(self)
        keys = {"current": "currentBytes", "p95": "p95PeakBytes", "oom_kills": "oomKills"}
        keys["recommended_bytes"] = "recommendedBytes"
        return {keys.get(key, key): value for key, value in data.items()} | {
            "savedBytes": self.saved
        }


def function_report(function: Json) -> MemoryReport:
    """The report of a Function, from the recent runs in its status."""
    metadata, spec = function["metadata"], function["spec"]
    recent = (function.get("status") or {}).get("recent") or []
    runs = [
        MeasuredRun(
            peak_bytes=one.get("peakMemoryBytes"),
            limit_bytes=one.get("memoryLimitBytes"),
            succeeded=one.get("status") == STATUS_SUCCESS,
            oom_killed=one.get("reason") == Reason.OOM_KILLED,
        )
        for one in recent
    ]
    text = ((spec.get("resources") or {}).get("limits") or {}).get("memory")
    limit = int(quantity(text)) if text else None
    return _report("Function", str(metadata["namespace"]), str(metadata["name"]), runs, limit)


def jobs_report(namespace: str, name: str, jobs: Sequence[Json]) -> MemoryReport:
    """The report of jobs that run the same code."""
    newest = sorted(jobs, key=lambda one: str(one["metadata"]["creationTimestamp"]), reverse=True)
    runs = [run for one in newest if (run := measured(one.get("status") or {})) is not None]
    return _report("Jobs", namespace, name, runs, None)


def group_reports(jobs: Sequence[Json]) -> list[MemoryReport]:
    """Reports of jobs without a function, grouped by name without its random suffix.

    A group needs two jobs.
    """
    groups: dict[tuple[str, str], list[Json]] = {}
    for one in jobs:
        metadata = one["metadata"]
        stem = _RANDOM_SUFFIX.sub("", str(metadata["name"]))
        if function_of(one) is None and stem != metadata["name"]:
            groups.setdefault((str(metadata["namespace"]), stem), []).append(one)
    return [
        jobs_report(namespace, f"{stem}-*", group)
        for (namespace, stem), group in sorted(groups.items())
        if len(group) > 1
    ]


def _report(
    kind: str, namespace: str, name: str, runs: Sequence[MeasuredRun], limit: int | None
) -> MemoryReport:
    known = sum(run.known_bytes is not None for run in runs)
    advice = recommend(runs)
    newest = next((run.limit_bytes for run in runs if run.limit_bytes is not None), None)
    return MemoryReport(
        kind=kind,
        namespace=namespace,
        name=name,
        runs=known,
        missing=max(0, LEAST_RUNS - known),
        current=newest if limit is None else limit,
        p95=advice.p95_peak_bytes if advice else None,
        recommended=advice.memory if advice else None,
        recommended_bytes=advice.memory_bytes if advice else None,
        oom_kills=advice.oom_kills if advice else sum(run.oom_killed for run in runs),
    )


def to_text(reports: Sequence[MemoryReport], all_namespaces: bool = False) -> str:
    """A table of reports."""
    rows = [["NAME", "KIND", "RUNS", "LIMIT", "P95 PEAK", "RECOMMENDED", "SAVED"]]
    for one in reports:
        rows.append(
            [
                one.name,
                one.kind,
                str(one.runs),
                amount(one.current),
                amount(one.p95),
                _recommended(one),
                _saved(one.saved),
            ]
        )
    if all_namespaces:
        rows = with_namespaces(rows, [one.namespace for one in reports])
    return columns(rows)


def _recommended(one: MemoryReport) -> str:
    if one.recommended is None:
        return f"{one.missing} more runs needed" if one.missing != 1 else "1 more run needed"
    kills = f" ({one.oom_kills} OOM-killed)" if one.oom_kills else ""
    return f"{one.recommended}{kills}"


def _saved(count: int | None) -> str:
    if count is None or count == 0:
        return ""
    return amount(count) if count > 0 else f"-{amount(-count)}"


def rightsize(
    ctx: CommandContext,
    function: Annotated[
        str | None,
        typer.Argument(help="One function; default: all functions and groups of jobs."),
    ] = None,
    selector: Annotated[
        str | None,
        typer.Option(
            "--selector",
            "--job-selector",
            "-l",
            help="Treat jobs with this label as one: app=report.",
        ),
    ] = None,
    all_namespaces: AllNamespaces = False,
    apply: Annotated[
        bool, typer.Option("--apply", help="Set the memory limits of functions, after a question.")
    ] = False,
    yes: Yes = False,
    output: Output = TABLE,
) -> None:
    """Compare memory limits with measured use. A recommendation needs 5 measured runs."""
    if sum((function is not None, selector is not None, all_namespaces)) > 1:
        message = "FUNCTION, --selector and -A exclude each other"
        raise UsageError(message, "Use only one of them.")
    if apply and selector is not None:
        raise UsageError("--apply needs functions", "Set the memory in the jobs' manifests.")
    if yes and not apply:
        raise UsageError("--yes needs --apply", "Add --apply.")
    client = ctx.client()
    functions = _functions(client, function, selector, all_namespaces)
    reports = [function_report(one) for one in functions]
    if function is None:
        reports += _job_reports(client, selector, all_namespaces)
    if not reports and output.as_text:
        note("no functions and no groups of jobs to compare")
        return

    def show() -> None:
        table = to_text(reports, all_namespaces)
        names = [one.name for one in reports]
        emit([one.to_json() for one in reports], output, lambda: table, lambda: names)

    # The question follows the table. With json and yaml the one document comes last.
    if not apply or output.as_text:
        show()
    if apply:
        _apply(client, functions, yes)
        if not output.as_text:
            show()


def _functions(
    client: "Client", name: str | None, selector: str | None, all_namespaces: bool
) -> list[Json]:
    if selector is not None:
        return []
    if name is not None:
        return [client.functions.get(name)]
    return client.functions.list(all_namespaces)


def _job_reports(
    client: "Client", selector: str | None, all_namespaces: bool
) -> list[MemoryReport]:
    runs = client.list(all_namespaces=all_namespaces, labels=selector or "")
    jobs = [run.job for run in runs]
    if selector is None:
        return group_reports(jobs)
    if not jobs:
        hint = "List the labels: kubectl get ej --show-labels"
        raise CliError(f"no job has the label {selector}", hint)
    return [jobs_report(client.namespace, selector, jobs)]


def _apply(client: "Client", functions: list[Json], yes: bool) -> None:
    changes = [
        (one, report)
        for one in functions
        if (report := function_report(one)).recommended and report.saved != 0
    ]
    if not changes:
        note("nothing to change")
        return
    if not yes:
        limits = ", ".join(f"{report.name} {report.recommended}" for _, report in changes)
        confirm(f"Set the memory limits: {limits}?")
    for one, report in changes:
        client.functions.set_memory(one, str(report.recommended))
        note(f"{report.name}: memory limit {report.recommended}")


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "rightsize", "nanogrid rightsize report --apply")(rightsize)
