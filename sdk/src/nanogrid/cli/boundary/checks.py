"""All parts of ``doctor --tenant``: installation, jobs, objects of the namespace, rights."""

import json
from collections.abc import Callable, Iterator
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from nanogrid.cli import namespace_checks
from nanogrid.cli.app.errors import command_hint
from nanogrid.cli.app.progress import Progress
from nanogrid.cli.boundary import attacks, installation, namespace, report, rights
from nanogrid.cli.boundary.installation import Installation, Target
from nanogrid.cli.boundary.jobs import TemporaryJobs
from nanogrid.cli.finding import INSTALL_HINT, Finding
from nanogrid.hints import Surface, hint_for

if TYPE_CHECKING:
    from nanogrid.client import Client, Cluster, Run

JOB: Final = "job"
LOG_HINT: Final = "See the operator's log."
RUN_SECONDS: Final = 120.0
Part = Callable[["Cluster", str, Installation | None], Iterator[Finding]]
PARTS: Final[tuple[tuple[str, Part], ...]] = (
    ("pod security", lambda cluster, tenant, _: namespace_checks.pod_security(cluster, tenant)),
    ("policies", namespace.policies),
    ("quota", namespace.quota),
)


def examine(client: "Client", tenant: str, progress: Progress) -> list[Finding]:
    """Attack the boundary of a namespace; jobs of this command are deleted before it returns.

    Raises:
        ApiError: the API server does not respond.
    """
    cluster = client.cluster
    installed, found = _installation(client, tenant)
    known = namespace.tenant(cluster, tenant, installed)
    with TemporaryJobs(client, tenant) as jobs:
        found += _attack(cluster, tenant, jobs, installed, known.root, progress)
    found.append(known.finding)
    # After the jobs, because the operator creates the policies before the first pod.
    for name, part in PARTS:
        found += _guarded(name, part, cluster, tenant, installed)
    progress.note("checking rights")
    found += rights.findings(cluster, tenant, installed, known.accounts or ("default",))
    return found


def _installation(client: "Client", tenant: str) -> tuple[Installation | None, list[Finding]]:
    from nanogrid.client import errors

    try:
        installed = installation.find(client.cluster, tenant, client.controller_class)
    except errors.Forbidden as error:
        detail = f"unknown, so its addresses are not tried: {error.message}"
        hint = "Run it as a user who may list Deployments in the cluster."
        return None, [Finding("installation", "skip", detail, hint)]
    if installed is None:
        own = client.controller_class
        detail = f"no operator{f' of controller class {own}' if own else ''} watches {tenant}"
        return None, [Finding("installation", "fail", detail, INSTALL_HINT)]
    name = installed.operator["metadata"]["name"]
    return installed, [Finding("installation", "ok", f"{installed.namespace}/{name}")]


def _guarded(
    name: str, part: Part, cluster: "Cluster", tenant: str, installed: Installation | None
) -> list[Finding]:
    from nanogrid.client import errors

    try:
        return list(part(cluster, tenant, installed))
    except (errors.Forbidden, errors.NotFound) as error:
        return [Finding(name, "skip", f"cannot be checked: {error.message}", command_hint(error))]


def _attack(
    cluster: "Cluster",
    tenant: str,
    jobs: TemporaryJobs,
    installed: Installation | None,
    root: str | None,
    progress: Progress,
) -> Iterator[Finding]:
    """Run the probe; only if it runs, a refusal of the other jobs proves something."""
    targets, skipped = installation.targets(cluster, tenant, installed)
    progress.note(f"creating a job in {tenant} that attacks {len(targets)} addresses")
    found, ran = _probe(tenant, jobs, targets, progress)
    yield found
    if ran is None:
        hint = "Fix the row above: without a job that runs, a refusal proves nothing."
        yield Finding("attacks", "skip", "no job can run", hint)
        return
    yield from report.findings(ran, targets, installed)
    yield from skipped
    yield from attacks.run(jobs, attacks.attacks(root, installed), progress)


def _probe(
    tenant: str, jobs: TemporaryJobs, targets: list[Target], progress: Progress
) -> tuple[Finding, report.Report | None]:
    """Run the probe as a job; returns how it went, and its report if there is one."""
    from nanogrid.client import errors

    code = files(__package__).joinpath("probe.py").read_text(encoding="utf-8")
    given = json.dumps({"targets": [one.to_json() for one in targets]})
    try:
        job = jobs.create("", {"code": {"inline": code}, "stdin": given})
    except errors.NotFound as error:
        no_namespace = "namespaces " in error.message
        hint = f"kubectl create namespace {tenant}" if no_namespace else INSTALL_HINT
        return Finding(JOB, "fail", f"cannot be created: {error.message}", hint), None
    except (errors.Forbidden, errors.Invalid) as error:
        hint = command_hint(error)
        return Finding(JOB, "fail", f"cannot be created: {error.message}", hint), None
    try:
        return _finished(job, progress)
    except errors.WaitTimeout:
        message = str(job.status.get("message") or "").partition("\n")[0]
        state = f"{job.phase} {job.reason} {message}".strip()
        detail = f"{job.name} did not end within {RUN_SECONDS:.0f} s: {state}"
        hint = hint_for(job.reason, Surface.CLI)
        hint = hint or f"nanogrid doctor -n {tenant} checks the installation."
        return Finding(JOB, "fail", detail, hint), None
    except errors.JobDeleted as error:
        return Finding(JOB, "fail", error.message, "Run doctor again."), None


def _finished(job: "Run", progress: Progress) -> tuple[Finding, report.Report | None]:
    result = job.wait(RUN_SECONDS, lambda run: progress.update(run.job))
    if not result.succeeded:
        detail = f"{job.name} ended with {result.reason}: {result.message}".rstrip(": ")
        hint = hint_for(result.reason, Surface.CLI) or result.stderr[-300:] or LOG_HINT
        return Finding(JOB, "fail", detail, hint), None
    ran = report.parse(result.stdout)
    if ran is None:
        hint = "Look for a sandbox.env or an image that changes what Python prints."
        return Finding(JOB, "fail", f"{job.name} printed no report", hint), None
    return Finding(JOB, "ok", f"{job.name} ran"), ran
