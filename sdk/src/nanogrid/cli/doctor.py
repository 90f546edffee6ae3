"""``doctor``: looks at everything that a job needs, and says how to mend what is wrong."""

from typing import TYPE_CHECKING, Any, Final

import typer

from nanogrid.cli.checks import CHECKS, Finding, api_server
from nanogrid.cli.exits import Exit
from nanogrid.cli.link import Link, command
from nanogrid.cli.output import Format, Output, emit

if TYPE_CHECKING:
    from nanogrid.client import Cluster

MARKS: Final = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}


def examine(cluster: "Cluster", namespace: str) -> list[Finding]:
    """All findings; a check that may not look says so.

    Raises:
        ApiError: the API server does not answer at all.
    """
    from nanogrid.client import errors

    found = list(api_server(cluster, namespace))
    for name, check in CHECKS:
        try:
            found += check(cluster, namespace)
        except (errors.Forbidden, errors.NotFound) as error:
            found.append(Finding(name, "warn", f"not to be seen: {error.message}", error.cure))
    return found


def to_text(found: list[Finding]) -> str:
    """What people read."""
    width = max(len(one.check) for one in found)
    lines: list[Any] = []
    for one in found:
        lines.append(f"{MARKS[one.state]}  {one.check.ljust(width)}  {one.detail}")
        if one.cure:
            lines.append(f"{'':6}{'':{width}}  how to mend: {one.cure}")
    return "\n".join(lines) + "\n"


def doctor(link: Link, output: Output = Format.TABLE) -> None:
    """Check the installation, the namespace and your permissions; exit 1 if something is wrong."""
    cluster = link.client().cluster
    found = examine(cluster, cluster.namespace)
    emit(
        [one.to_json() for one in found],
        output,
        lambda: to_text(found),
        lambda: [one.check for one in found if one.state == "fail"],
    )
    if any(one.state == "fail" for one in found):
        raise typer.Exit(Exit.FAILED)


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "doctor", "nanogrid doctor -n team", exit_codes=True)(doctor)
