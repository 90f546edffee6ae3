"""``pools``: the pools of a namespace, or the details of one."""

import time

import typer

from nanogrid.cli.app import pool_tables
from nanogrid.cli.app.command import CommandContext, command
from nanogrid.cli.app.errors import UsageError
from nanogrid.cli.app.options import AllNamespaces, PoolName
from nanogrid.cli.app.output import TABLE, Format, Output, emit, note


def show_pools(
    ctx: CommandContext,
    name: PoolName = None,
    all_namespaces: AllNamespaces = False,
    output: Output = TABLE,
) -> None:
    """List pools: pods that wait for jobs, so that a job starts at once. A name shows one pool."""
    from nanogrid.client.kube.paths import named, pools

    cluster = ctx.client().cluster
    if name is not None:
        if all_namespaces:
            raise UsageError("a name and -A exclude each other", "Use -n for its namespace.")
        pool = cluster.get(named(pools(cluster.namespace), name))
        card = pool_tables.pool_card(pool, time.time())
        emit(pool, output, lambda: card, lambda: [pool_tables.pool_name(pool)])
        return
    found = cluster.list(pools(None if all_namespaces else cluster.namespace))
    found.sort(key=lambda one: (one["metadata"]["namespace"], one["metadata"]["name"]))
    if not found and output.as_text:
        note(f"no pools in {'any namespace' if all_namespaces else cluster.namespace}")
        return
    wide = output is Format.WIDE
    emit(
        found,
        output,
        lambda: pool_tables.pools_table(found, time.time(), wide, all_namespaces),
        lambda: [pool_tables.pool_name(pool) for pool in found],
    )


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "pools", "nanogrid pools -o wide")(show_pools)
