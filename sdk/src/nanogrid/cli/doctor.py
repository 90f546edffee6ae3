"""``doctor``: checks everything that a job needs, with a hint for each problem."""

from functools import partial
from typing import TYPE_CHECKING, Annotated, Final

import typer

from nanogrid.cli import crd_checks, installation_checks, namespace_checks
from nanogrid.cli.app.command import CommandContext, command
from nanogrid.cli.app.errors import command_hint
from nanogrid.cli.app.exits import Exit
from nanogrid.cli.app.output import TABLE, Output, emit
from nanogrid.cli.app.progress import make_progress
from nanogrid.cli.finding import Check, Finding
from nanogrid.controller_class import NO_CLASS

if TYPE_CHECKING:
    from nanogrid.client import Cluster

LABELS: Final = {"ok": "ok  ", "warn": "warn", "fail": "FAIL", "skip": "skip"}


def _checks(controller_class: str) -> tuple[tuple[str, Check], ...]:
    """All checks in their order; some are about the installation of this class."""
    installation = installation_checks
    return (
        ("CRD", crd_checks.job_crd),
        ("functions", crd_checks.function_crd),
        ("pools", crd_checks.pool_crd),
        ("operator", partial(installation.operator, controller_class=controller_class)),
        ("sessions", partial(installation.router, controller_class=controller_class)),
        ("isolation", partial(installation.isolation, controller_class=controller_class)),
        ("permissions", namespace_checks.permissions),
        ("pod security", namespace_checks.pod_security),
        ("network", namespace_checks.network),
        ("pools", namespace_checks.pools),
        ("image", partial(installation.image, controller_class=controller_class)),
    )


def examine(cluster: "Cluster", namespace: str, controller_class: str = NO_CLASS) -> list[Finding]:
    """Run all checks; a check without permission becomes a warning.

    Raises:
        ApiError: the API server does not respond.
    """
    from nanogrid.client import errors

    findings = list(installation_checks.api_server(cluster, namespace))
    for name, check in _checks(controller_class):
        try:
            findings += check(cluster, namespace)
        except (errors.Forbidden, errors.NotFound) as error:
            detail = f"cannot be checked: {error.message}"
            findings.append(Finding(name, "warn", detail, command_hint(error)))
    return findings


def to_text(findings: list[Finding]) -> str:
    """The findings as text, each with its hint below."""
    width = max(len(one.check) for one in findings)
    lines: list[str] = []
    for one in findings:
        lines.append(f"{LABELS[one.state]}  {one.check.ljust(width)}  {one.detail}")
        if one.hint:
            lines.append(f"{'':6}{'':{width}}  hint: {one.hint}")
    return "\n".join(lines) + "\n"


Tenant = Annotated[
    str | None,
    typer.Option("--tenant", metavar="NS", help="Attack the boundary of this namespace instead."),
]


def doctor(ctx: CommandContext, tenant: Tenant = None, output: Output = TABLE) -> None:
    """Check the installation, the namespace and your permissions. Exits with 1 on a failure.

    With --tenant, short jobs in that namespace try what a tenant must not be able to do. They are
    deleted at the end.
    """
    if tenant is None:
        client = ctx.client()
        findings = examine(client.cluster, client.cluster.namespace, client.controller_class)
    else:
        findings = _attack(ctx, tenant, output)
    failed = [one.check for one in findings if one.state == "fail"]
    emit(
        [one.to_json() for one in findings],
        output,
        lambda: to_text(findings),
        lambda: failed,
    )
    if failed:
        raise typer.Exit(Exit.FAILED)


def _attack(ctx: CommandContext, tenant: str, output: Output) -> list[Finding]:
    from nanogrid.cli.boundary import checks

    with make_progress(quiet=not output.for_people) as progress:
        return checks.examine(ctx.client(tenant), tenant, progress)


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "doctor", "nanogrid doctor --tenant team", exit_codes=True)(doctor)
