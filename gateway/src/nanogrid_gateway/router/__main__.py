"""Starts the router: settings, watches, HTTP server and graceful shutdown.

On SIGTERM the router reports that it is not ready and still accepts requests until the load
balancer must have noticed. Then it accepts no new requests and waits for the running ones,
streams included.
"""

import asyncio
import logging
import signal
import sys
from collections.abc import Callable, Iterable
from functools import partial

from aiohttp import web

from nanogrid import controller_class, names
from nanogrid.connection_limits import ConnectionLimits, Slots
from nanogrid.connections import Connections
from nanogrid.kube.client import KubeApi
from nanogrid.kube.reflector import Reflector, Sink
from nanogrid.metrics.registry import Metrics
from nanogrid.refusals import error_body
from nanogrid.settings import help_text
from nanogrid.traces.export import Tracing, check_imports
from nanogrid.traces.settings import TraceSettings
from nanogrid.types import Json
from nanogrid_gateway import command_line
from nanogrid_gateway.counted import count_others
from nanogrid_gateway.metrics import RouterMetrics
from nanogrid_gateway.router.network_guard import NetworkGuard
from nanogrid_gateway.router.server import Router
from nanogrid_gateway.router.settings import RouterSettings
from nanogrid_gateway.router.table import SessionTable
from nanogrid_gateway.router.upstream import Upstreams
from nanogrid_gateway.tracing import start_tracing

log = logging.getLogger("nanogrid.router")

USER_AGENT = "nanogrid-router"
SESSION_JOBS = f"spec.mode={names.MODE_SESSION}"  # a field selector
SESSION_PODS = f"{names.LABEL_MODE}={names.MODE_SESSION}"  # a label selector


def reflectors(api: KubeApi, table: SessionTable, settings: RouterSettings) -> list[Reflector]:
    """The watches for jobs and pods, per namespace or for all namespaces."""

    def reflector(path: str, sink: Sink, labels: str = "", fields: str = "") -> Reflector:
        return Reflector(
            api,
            path,
            sink,
            labels=labels,
            fields=fields,
            resync=settings.resync_seconds,
            watch=settings.watch_seconds,
        )

    def sink(
        replace: Callable[[str, Iterable[Json]], None],
        put: Callable[[Json], None],
        drop: Callable[[Json], None],
        namespace: str,
    ) -> Sink:
        return Sink(replace=partial(replace, namespace), put=put, drop=drop)

    own = settings.controller_class
    fields = f"{SESSION_JOBS},{controller_class.job_fields(own)}"
    labels = f"{SESSION_PODS},{controller_class.label_selector(own)}"
    watches = []
    for namespace in settings.namespaces or [""]:
        scope = f"/namespaces/{namespace}" if namespace else ""
        jobs = f"/apis/{names.GROUP}/{names.VERSION}{scope}/{names.PLURAL}"
        job_sink = sink(table.replace_jobs, table.put_job, table.drop_job, namespace)
        pod_sink = sink(table.replace_pods, table.put_pod, table.drop_pod, namespace)
        watches.append(reflector(jobs, job_sink, fields=fields))
        watches.append(reflector(f"/api/v1{scope}/pods", pod_sink, labels=labels))
    return watches


class _Stopped(Exception):
    """The router has drained after a stop signal; cancels the watches."""


async def run(settings: RouterSettings, metrics: RouterMetrics, tracing: Tracing) -> None:
    """Run the router until SIGTERM or SIGINT; if a part fails, the process ends."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    upstreams = Upstreams(
        connect=settings.connect_timeout_seconds, idle=settings.idle_timeout_seconds
    )
    table = SessionTable(upstreams.drop, settings.controller_class)
    metrics.sessions.set_function(lambda: table.counts()[0])
    metrics.pods.set_function(lambda: table.counts()[1])
    api = await KubeApi.connect(
        settings.kube_timeout_seconds, user_agent=USER_AGENT, answered=metrics.kubernetes.answered
    )
    watches = reflectors(api, table, settings)
    guard = NetworkGuard(api, settings.network_config_map)

    def missing() -> list[str]:
        return [w.path for w in watches if not w.primed] + guard.missing()

    router = Router(settings, table, upstreams, missing, metrics, lambda: guard.problem, tracing)
    try:
        async with asyncio.TaskGroup() as group:
            for watch in watches:
                group.create_task(watch.run(), name=watch.path)
            group.create_task(guard.run(), name="network")
            await serve(settings, router, metrics, stop)
            raise _Stopped
    except* _Stopped:
        log.info("stopped")
    finally:
        await router.close()
        await upstreams.close()
        await api.close()


async def serve(
    settings: RouterSettings, router: Router, metrics: RouterMetrics, stop: asyncio.Event
) -> None:
    """Serve until ``stop`` is set, then drain."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        with connections.request(request.transport) as exchange:
            response = await router.handle(request)
            exchange.closing = router.draining or not request.content.is_eof()
            if exchange.closing and not response.prepared:
                response.force_close()  # unread bytes must not become the next request
            return response

    server = web.Server(
        handle,
        handler_cancellation=True,  # a disconnected client frees its connection to the session
        access_log_class=count_others(metrics.answers),
        auto_decompress=False,
        keepalive_timeout=settings.keepalive_seconds,
    )
    runner = web.ServerRunner(server, shutdown_timeout=settings.drain_seconds)
    await runner.setup()
    connections = Connections(
        server,
        ConnectionLimits(
            read_seconds=settings.read_seconds,
            most=settings.max_connections,
            most_per_address=settings.max_connections_per_address,
            proxies=settings.proxies,
        ),
        Slots(settings.max_slow_clients),
        lambda refusal: metrics.answers.refusal(error_body(refusal)),
    )
    listener = await connections.listen(settings.host, settings.port)
    sweeping = asyncio.create_task(connections.sweep_forever(), name="sweep")
    try:
        await listener.start_serving()
        log.info("listening on port %d", settings.port)
        await stop.wait()
        router.draining = True
        log.info(
            "draining: accepting requests for %g s more, %d running",
            settings.drain_start_seconds,
            router.in_flight,
        )
        await asyncio.sleep(settings.drain_start_seconds)
        log.info("accepting no new requests; waiting for %d", router.in_flight)
    finally:
        await connections.stop_listening(listener)
        await runner.cleanup()
        sweeping.cancel()


def main() -> int:
    """Entry point; exit code 2 means that a setting is wrong."""
    description = "Routes clients to the pods of their sessions."
    text = f"{help_text(RouterSettings)}\n{help_text(TraceSettings)}"
    settings = command_line.start(
        "router", description, text, RouterSettings.from_env, check_imports
    )
    metrics, tracing = Metrics("router"), start_tracing("nanogrid-router")
    server = run(settings, RouterMetrics(metrics), tracing)
    try:
        return command_line.run(metrics, settings.metrics_port, server)
    finally:
        tracing.close()


if __name__ == "__main__":
    sys.exit(main())
