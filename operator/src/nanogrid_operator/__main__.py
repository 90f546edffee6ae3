"""The entry point: builds all parts and runs them.

The process is crash-only. A worker or server that fails ends the process, and Kubernetes restarts
it. All state that matters is in the cluster, in S3 and in Redis.
"""

import argparse
import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import kopf

from nanogrid import log_line, logs, names
from nanogrid.kube.client import KubeApi
from nanogrid.kube.conventions import KubeError
from nanogrid.listening import listen_on_all
from nanogrid.metrics.registry import Metrics
from nanogrid.metrics.server import serving_metrics
from nanogrid.settings import SettingsError
from nanogrid.traces.export import Tracing, check_imports, open_tracing
from nanogrid.traces.settings import TraceSettings
from nanogrid_operator.kube.key_secrets import connect_and_create
from nanogrid_operator.kube.leader_election import LeaseLost
from nanogrid_operator.kube.lease import CALL_SECONDS, identity_of
from nanogrid_operator.kube.lease_thread import Election, election
from nanogrid_operator.metrics import OperatorMetrics
from nanogrid_operator.parts.build import Parts, build
from nanogrid_operator.parts.clients import Clients
from nanogrid_operator.server.serve import serving
from nanogrid_operator.settings import Settings
from nanogrid_operator.watch.handlers import configure, register
from nanogrid_operator.watch.kopf_logs import LOGGER as KOPF_OBJECTS
from nanogrid_operator.watch.kopf_logs import KopfFields
from nanogrid_operator.workqueue import WorkQueue

log = logging.getLogger("nanogrid")

DENIED_BACKLOG = 1024  # a full backlog looks like a closed port, so it is a long one
LEASE_CONNECTIONS = 2  # one more than needed, if one hangs


async def run(settings: Settings, metrics: OperatorMetrics, tracing: Tracing) -> None:
    """Run the operator until Kopf is stopped or a part fails."""
    clients = await Clients.connect(settings, metrics)
    async with _elector(settings, metrics) as elector:
        parts = _build(settings, clients, elector, metrics, tracing)
        try:
            # The denied port is open longer: one that is closed must mean a policy. Metrics are
            # sent longest, because the last jobs count too.
            async with (
                parts.cloudwatch.sending(),
                _serving_denied(settings.denied_port),
                serving(parts.api, "", settings.port),
            ):
                log.info("listening on port %d", settings.port)
                await _run_parts(settings, parts, elector)
        finally:
            await clients.close()


def _build(
    settings: Settings,
    clients: Clients,
    elector: Election | None,
    metrics: OperatorMetrics,
    tracing: Tracing,
) -> Parts:
    if elector is None:
        return build(settings, clients, WorkQueue(), metrics=metrics, tracing=tracing)
    return build(
        settings,
        clients,
        WorkQueue(paused=True),
        metrics=metrics,
        tracing=tracing,
        leader=elector.leader_address,
    )


@asynccontextmanager
async def _elector(settings: Settings, metrics: OperatorMetrics) -> AsyncIterator[Election | None]:
    """The election; None if this process leads without a Lease."""
    if not settings.lease_name:
        yield None
        return

    def connect() -> Coroutine[Any, Any, KubeApi]:
        return KubeApi.connect(
            CALL_SECONDS,
            user_agent=names.MANAGED_BY,
            connections=LEASE_CONNECTIONS,
            answered=metrics.kubernetes.answered,
        )

    identity = identity_of(settings.identity, settings.pod_uid)
    async with election(
        connect, settings.lease_namespace, settings.lease_name, identity
    ) as elector:
        yield elector


async def _run_parts(settings: Settings, parts: Parts, elector: Election | None) -> None:
    """Run all parts; see :func:`run`."""
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_stop_on_sigterm(), name="sigterm")
            group.create_task(parts.health.run(), name="health")
            group.create_task(parts.gauges.run(), name="gauges")
            took_over = await _stand_by(settings, parts, elector, group)
            await _lead(parts, group, took_over=took_over)
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


async def _stop_on_sigterm() -> None:
    """Stop at SIGTERM until Kopf runs, which then handles it; PID 1 has no default handlers."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    raise _Stopped


class _Stopped(Exception):
    """The process was asked to stop; all tasks end."""


async def _stand_by(
    settings: Settings, parts: Parts, elector: Election | None, group: asyncio.TaskGroup
) -> bool:
    """Fill the caches and keep them current; return when this process leads.

    Returns:
        Whether it took over from a leader that it has stood by for. Otherwise all that it has read
        is newer than the Lease.
    """
    leads = elector is None or await elector.try_acquire()
    if leads:
        parts.queue.resume()
    leading = asyncio.Event()
    if elector is not None:
        group.create_task(_hold(elector, leading), name="lease")
    await parts.tenant_poll.first()
    await parts.resync.first()
    _keep_from_collections()
    group.create_task(parts.resync.run(), name="resync")
    group.create_task(parts.tenant_poll.run(), name="tenants")
    group.create_task(parts.pod_watch.run(), name="pods")
    group.create_task(_watch(settings, parts), name="watch")
    if elector is not None:
        await leading.wait()
    return not leads


def _keep_from_collections() -> None:
    """Let the garbage collector visit only what is made from now on.

    A full collection would visit all modules and all objects of the first LIST, which stay: 0.1 s
    after each few jobs, whose JSON is many objects. References still free what is no longer used.
    """
    gc.collect()
    gc.freeze()


async def _hold(elector: Election, leading: asyncio.Event) -> None:
    """Acquire the Lease, and renew it for ever."""
    await elector.acquire()
    leading.set()
    await elector.renew()


async def _lead(parts: Parts, group: asyncio.TaskGroup, *, took_over: bool) -> None:
    """Start what acts. Decisions need all objects: no worker runs before the first LISTs."""
    await parts.network.load()
    if took_over:
        parts.resync.take_over()
        # In the background: thousands of objects take the API server seconds.
        group.create_task(parts.resync.first(), name="confirm")
    group.create_task(parts.network.run(), name="network")
    group.create_task(parts.workers.run(), name="workers")
    group.create_task(parts.pool_keeper.run(), name="pools")
    group.create_task(parts.claims.run(), name="claims")
    group.create_task(parts.memory.run(), name="memory")
    group.create_task(parts.webhooks.run(), name="webhooks")
    group.create_task(parts.outbox.run(), name="outbox")
    group.create_task(parts.function_runs.run(), name="functions")
    log.info("leading")


async def _watch(settings: Settings, parts: Parts) -> None:
    """Watch jobs and pools until Kopf is stopped."""
    registry, options = kopf.OperatorRegistry(), kopf.OperatorSettings()
    register(registry, parts.handlers)
    configure(options, parts.selection)
    logging.getLogger(KOPF_OBJECTS).addFilter(KopfFields(parts.cache.log_fields))
    await kopf.operator(
        registry=registry,
        settings=options,
        standalone=True,
        clusterwide=not settings.namespaces,
        namespaces=settings.namespaces,
    )
    raise _Stopped


def main() -> int:
    """The entry point; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="nanogrid-operator",
        description="Watches ExecutionJobs and runs each in a sandbox pod. Environment variables "
        "configure it; see the chart's values.",
    )
    parser.add_argument("--check", action="store_true", help="import everything and exit")
    log_line.add_options(parser)
    options = parser.parse_args()
    if options.check:
        OperatorMetrics(Metrics("operator"))
        check_imports()
        print("nanogrid-operator: all imports work")
        return 0
    logs.start("operator", os.environ, options.log_format, options.log_level)
    # Kopf logs each handled event; the operator logs each transition.
    logging.getLogger("kopf").setLevel(logging.WARNING)
    try:
        created = asyncio.run(connect_and_create(os.environ))
        settings = Settings.from_env({**os.environ, **created})
        tracing = open_tracing("nanogrid-operator", TraceSettings.from_env(os.environ))
    except SettingsError as e:
        log.critical("a setting is wrong: %s", e)
        return 2
    except KubeError as e:
        log.critical("cannot create the Secrets of keys: %s", e)
        return 1
    metrics = OperatorMetrics(Metrics("operator"))
    code = 0
    try:
        with serving_metrics(metrics.registry, settings.metrics_port):
            asyncio.run(run(settings, metrics, tracing))
    except* LeaseLost:
        code = 1  # the cause is in the log
    except* SettingsError as group:
        log.critical("a setting is wrong: %s", group.exceptions[0])
        code = 2
    finally:
        tracing.close()
    return code


if __name__ == "__main__":
    sys.exit(main())
