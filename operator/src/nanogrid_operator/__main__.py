"""The entry point: builds all parts and runs them.

The process is crash-only. A worker or server that fails ends the process, and Kubernetes restarts
it. All state that matters is in the cluster, in S3 and in Redis.
"""

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import kopf

from nanogrid.listening import listen_on_all
from nanogrid.settings import SettingsError
from nanogrid_operator.kube.leader_election import LeaderElector, LeaseLost
from nanogrid_operator.parts import Clients, Parts, build
from nanogrid_operator.server.serve import serving
from nanogrid_operator.settings import Settings
from nanogrid_operator.watch.handlers import configure, register
from nanogrid_operator.workqueue import WorkQueue

log = logging.getLogger("nanogrid")

DENIED_BACKLOG = 1024  # a full backlog looks like a closed port, so it is a long one


async def run(settings: Settings) -> None:
    """Run the operator until Kopf is stopped or a part fails."""
    clients = await Clients.connect(settings)
    parts = build(settings, clients, WorkQueue())
    elector = None
    if settings.lease_name:
        elector = LeaderElector(
            clients.kube, settings.lease_namespace, settings.lease_name, settings.identity
        )
    try:
        # The denied port is open longer: one that is closed must mean a policy.
        async with (
            _serving_denied(settings.denied_port),
            serving(parts.api, "", settings.port),
        ):
            log.info("listening on port %d", settings.port)
            await _run_parts(settings, parts, elector)
    finally:
        await clients.close()


async def _run_parts(settings: Settings, parts: Parts, elector: LeaderElector | None) -> None:
    """Run all parts as the leader; see :func:`run`."""
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(parts.health.run(), name="health")
            if await _acquire(elector):
                await _work(settings, parts, elector, group)
            raise _Stopped
    except* _Stopped:
        log.info("stopped")
    except* LeaseLost as lost:
        log.error("stopping immediately: %s", lost.exceptions[0])
        raise
    finally:
        if elector is not None:
            await elector.release()


@asynccontextmanager
async def _serving_denied(port: int) -> AsyncIterator[None]:
    """Accept connections and close them: what a pod without a NetworkPolicy reaches.

    Port 0 serves nothing.
    """
    if not port:
        yield
        return

    async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    listener = listen_on_all(port, DENIED_BACKLOG)
    server = await asyncio.start_server(close, sock=listener, backlog=DENIED_BACKLOG)
    try:
        yield
    finally:
        server.close()


async def _acquire(elector: LeaderElector | None) -> bool:
    """Wait for the Lease; False if SIGTERM comes first.

    Kopf, which otherwise handles SIGTERM, does not run yet, and PID 1 has no default handlers.
    """
    if elector is None:
        return True
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    tasks = [asyncio.create_task(elector.acquire()), asyncio.create_task(stop.wait())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return not stop.is_set()
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Stopped(Exception):
    """Kopf was stopped; all tasks end."""


async def _work(
    settings: Settings, parts: Parts, elector: LeaderElector | None, group: asyncio.TaskGroup
) -> None:
    """Start all parts in the group, then watch until Kopf is stopped."""
    if elector is not None:
        group.create_task(elector.renew(), name="lease")
    # Decisions need all objects: no worker runs before the first LISTs.
    await parts.tenant_poll.first()
    await parts.resync.first()
    await parts.network.load()
    group.create_task(parts.network.run(), name="network")
    group.create_task(parts.workers.run(), name="workers")
    group.create_task(parts.memory.run(), name="memory")
    group.create_task(parts.webhooks.run(), name="webhooks")
    group.create_task(parts.outbox.run(), name="outbox")
    group.create_task(parts.function_runs.run(), name="functions")
    group.create_task(parts.resync.run(), name="resync")
    group.create_task(parts.tenant_poll.run(), name="tenants")
    registry, options = kopf.OperatorRegistry(), kopf.OperatorSettings()
    register(registry, parts.handlers)
    configure(options)
    await kopf.operator(
        registry=registry,
        settings=options,
        standalone=True,
        clusterwide=not settings.namespaces,
        namespaces=settings.namespaces,
    )


def main() -> int:
    """The entry point; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="nanogrid-operator",
        description="Watches ExecutionJobs and runs each in a sandbox pod. Environment variables "
        "configure it; see the chart's values.",
    )
    parser.add_argument("--check", action="store_true", help="import everything and exit")
    if parser.parse_args().check:
        print("nanogrid-operator: all imports work")
        return 0
    try:
        settings = Settings.from_env()
    except SettingsError as e:
        print(f"nanogrid-operator: {e}", file=sys.stderr)
        return 2
    logging.basicConfig(
        level=settings.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    # Kopf logs each handled event; the operator logs each transition.
    logging.getLogger("kopf").setLevel(logging.WARNING)
    code = 0
    try:
        asyncio.run(run(settings))
    except* LeaseLost:
        code = 1  # the cause is in the log
    return code


if __name__ == "__main__":
    sys.exit(main())
