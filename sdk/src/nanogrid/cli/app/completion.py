"""What a shell completes: names of jobs, sessions, functions and pools of the cluster.

A shell asks while the user types, so nothing is printed and an error completes nothing.
"""

from collections.abc import Callable, Iterable
from contextlib import closing
from typing import TYPE_CHECKING, Final

import typer

from nanogrid import names
from nanogrid.cli.app.command import CommandContext, chosen

if TYPE_CHECKING:
    from nanogrid.client import Client

MOST: Final = 200  # names; more are of no use on a terminal
LATEST: Final = "@latest"


def jobs(call: typer.Context, incomplete: str) -> list[str]:
    """Names of jobs, newest first."""
    return _complete(call, incomplete, lambda client: [LATEST, *_job_names(client)])


def sessions(call: typer.Context, incomplete: str) -> list[str]:
    """Names of sessions, newest first."""
    return _complete(call, incomplete, _session_names)


def functions(call: typer.Context, incomplete: str) -> list[str]:
    """Names of functions."""
    return _complete(call, incomplete, _function_names)


def pools(call: typer.Context, incomplete: str) -> list[str]:
    """Names of pools."""
    return _complete(call, incomplete, _pool_names)


def _job_names(client: "Client") -> list[str]:
    from nanogrid.client.jobs.selection import newest_first
    from nanogrid.client.kube.paths import jobs

    found = client.cluster.list_metadata(jobs(client.namespace))
    return [str(one["metadata"]["name"]) for one in newest_first(found)]


def _session_names(client: "Client") -> list[str]:
    sessions = (r for r in client.list() if r.job["spec"].get("mode") == names.MODE_SESSION)
    return [run.name for run in sessions]


def _function_names(client: "Client") -> list[str]:
    return [str(one["metadata"]["name"]) for one in client.functions.list()]


def _pool_names(client: "Client") -> list[str]:
    from nanogrid.client.kube.paths import pools

    found = client.cluster.list_metadata(pools(client.namespace))
    return sorted(str(one["metadata"]["name"]) for one in found)


def _complete(
    call: typer.Context, incomplete: str, found: Callable[["Client"], Iterable[str]]
) -> list[str]:
    try:
        with closing(_context_of(call)) as ctx:
            fitting = [name for name in found(ctx.client()) if name.startswith(incomplete)]
    except Exception:  # of any kind: a traceback would destroy the line that the user types
        return []
    return fitting[:MOST]


def _context_of(call: typer.Context) -> CommandContext:
    """The cluster options typed so far; those of the command come before those of the program."""
    given: dict[str, str] = {}
    at: typer.Context | None = call
    while at is not None:
        given = chosen(at.params) | given
        at = at.parent  # type: ignore[assignment]  # the parent of a typer.Context is one
    return CommandContext.of(given)
