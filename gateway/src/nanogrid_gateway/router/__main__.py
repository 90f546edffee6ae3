"""Wiring of settings, watches and HTTP server, and the orderly end; nothing else starts anything.

On SIGTERM the router says that it is not ready, goes on taking requests until the load balancer
must have heard of it, then takes no more and waits for those that run, streams included.
"""

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Callable, Iterable
from functools import partial

from aiohttp import web

from nanogrid import names
from nanogrid.envsettings import SettingsError, help_text
from nanogrid_gateway.router.cluster import ClusterApi
from nanogrid_gateway.router.objects import Json
from nanogrid_gateway.router.reflector import Reflector, Sink
from nanogrid_gateway.router.server import Router
from nanogrid_gateway.router.settings import Settings
from nanogrid_gateway.router.table import Table
from nanogrid_gateway.router.upstream import Upstreams

log = logging.getLogger("nanogrid.router")

SESSION_JOBS = {"fieldSelector": f"spec.mode={names.MODE_SESSION}"}
SESSION_PODS = {"labelSelector": f"{names.LABEL_MODE}={names.MODE_SESSION}"}


def reflectors(api: ClusterApi, table: Table, settings: Settings) -> list[Reflector]:
    """The watches: jobs and pods, of each namespace or of all."""

    def reflector(path: str, query: dict[str, str], sink: Sink) -> Reflector:
        return Reflector(
            api,
            path,
            query,
            sink,
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

    found = []
    for namespace in settings.namespaces or [""]:
        scope = f"/namespaces/{namespace}" if namespace else ""
        jobs = f"/apis/{names.GROUP}/{names.VERSION}{scope}/{names.PLURAL}"
        job_sink = sink(table.replace_jobs, table.put_job, table.drop_job, namespace)
        pod_sink = sink(table.replace_pods, table.put_pod, table.drop_pod, namespace)
        found.append(reflector(jobs, SESSION_JOBS, job_sink))
        found.append(reflector(f"/api/v1{scope}/pods", SESSION_PODS, pod_sink))
    return found


class _Stopped(Exception):
    """The router was told to stop and has drained; the watches end with it."""


async def run(settings: Settings) -> None:
    """Run the router until SIGTERM or SIGINT; a part that fails takes the process with it."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    upstreams = Upstreams(
        connect=settings.connect_timeout_seconds, idle=settings.idle_timeout_seconds
    )
    table = Table(upstreams.drop)
    api = await ClusterApi.connect(settings.kube_timeout_seconds)
    watches = reflectors(api, table, settings)
    router = Router(settings, table, upstreams, lambda: [w.path for w in watches if not w.primed])
    try:
        async with asyncio.TaskGroup() as group:
            for watch in watches:
                group.create_task(watch.run(), name=watch.path)
            await serve(settings, router, stop)
            raise _Stopped
    except* _Stopped:
        log.info("stopped")
    finally:
        await router.close()
        await upstreams.close()
        await api.close()


async def serve(settings: Settings, router: Router, stop: asyncio.Event) -> None:
    """Serve until told to stop, then drain."""
    server = web.Server(
        router.handle,
        handler_cancellation=True,  # a client that goes frees its connection to the session
        access_log=None,
        auto_decompress=False,
        keepalive_timeout=settings.keepalive_seconds,
    )
    runner = web.ServerRunner(server, shutdown_timeout=settings.drain_seconds)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.host or None, settings.port).start()
        log.info("listening on port %d", settings.port)
        await stop.wait()
        router.draining = True
        log.info(
            "draining: taking requests for %g s more, %d run now",
            settings.drain_start_seconds,
            router.in_flight,
        )
        await asyncio.sleep(settings.drain_start_seconds)
        log.info("no new requests; waiting for %d", router.in_flight)
    finally:
        await runner.cleanup()


def main() -> int:
    """Entry point; the exit code says whether the start went well."""
    parser = argparse.ArgumentParser(
        prog="nanogrid-router",
        description="Leads clients to the pods of their sessions.",
        epilog="Environment:\n" + help_text(Settings),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--check", action="store_true", help="import everything and exit")
    if parser.parse_args().check:
        print("nanogrid-router: all imports work")
        return 0
    try:
        settings = Settings.from_env()
    except SettingsError as e:
        print(f"nanogrid-router: {e}", file=sys.stderr)
        return 2
    logging.basicConfig(
        level=settings.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    asyncio.run(run(settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
