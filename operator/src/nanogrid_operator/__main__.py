"""Wiring of settings, clients, queue, workers, HTTP server and Kopf; nothing else starts anything.

The process is crash-only. A worker or server that dies takes the process with it, and Kubernetes
starts it anew; all state that matters is in the cluster, in S3 and in Redis.
"""

import argparse
import asyncio
import logging
import signal
import sys

import kopf
from aiohttp import web

from nanogrid.envsettings import SettingsError
from nanogrid_operator import handlers, health
from nanogrid_operator.events import Events
from nanogrid_operator.functionruns import FunctionRuns
from nanogrid_operator.kube import KubeApi, KubeError
from nanogrid_operator.lease import Lease, LeaseLost
from nanogrid_operator.liveness import Liveness
from nanogrid_operator.outbox import Outbox
from nanogrid_operator.publish import Publisher
from nanogrid_operator.reconcile import Reconciler
from nanogrid_operator.results_api import ResultsApi
from nanogrid_operator.s3 import ResultStore
from nanogrid_operator.secrets import S3SecretReplica
from nanogrid_operator.settings import Settings
from nanogrid_operator.store import Store
from nanogrid_operator.webhook import WebhookClient
from nanogrid_operator.webhooks import Webhooks
from nanogrid_operator.workers import Workers
from nanogrid_operator.workqueue import WorkQueue

log = logging.getLogger("nanogrid")


async def run(settings: Settings) -> None:
    """Run the operator until Kopf is told to stop or a part of it fails."""
    store, queue = Store(), WorkQueue()
    kube = await KubeApi.connect(settings.kube_timeout_seconds)
    publisher, results = Publisher(settings), ResultStore(settings)
    reconciler = Reconciler(
        settings=settings,
        store=store,
        queue=queue,
        kube=kube,
        publisher=publisher,
        results=results,
        secrets=S3SecretReplica(kube, settings),
        events=Events(kube),
        clock=kube.now,
    )
    liveness = Liveness(queue, settings.resync_seconds)
    workers = Workers(
        settings=settings,
        store=store,
        queue=queue,
        kube=kube,
        reconciler=reconciler,
        liveness=liveness,
    )
    lease = None
    if settings.lease_name:
        lease = Lease(kube, settings.lease_namespace, settings.lease_name, settings.identity)
    client = WebhookClient(settings)
    webhooks = Webhooks(
        settings=settings,
        store=store,
        client=client,
        delivering=reconciler.delivering,
        clock=kube.now,
    )
    reconciler.webhook = webhooks.offer
    outbox = Outbox(reconciler.delivering)
    reconciler.ending.outbox = outbox.offer
    functions = FunctionRuns(kube, kube.now)
    reconciler.ending.counted, workers.listed = functions.offer, functions.listed
    probes = health.Health(liveness.trouble)
    api = ResultsApi(kube=kube, store=store, queue=queue, health=probes, clock=kube.now)
    runner = web.AppRunner(api.app(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", settings.port).start()  # noqa: S104 a pod's own address
    log.info("listening on port %d", settings.port)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(
                probes.watch(health.checks(kube, publisher, results, settings)), name="health"
            )
            if not await _leads(lease):
                raise _Stopped
            if lease is not None:
                group.create_task(lease.hold(), name="lease")
            # Decisions need the whole picture: no worker runs before the first LIST.
            await _first_resync(workers)
            for number in range(settings.workers):
                group.create_task(workers.work(), name=f"worker-{number}")
            group.create_task(webhooks.run(), name="webhooks")
            group.create_task(outbox.run(), name="outbox")
            group.create_task(functions.run(), name="functions")
            group.create_task(workers.resync_forever(), name="resync")
            await _watch(settings, store, queue, liveness)
            raise _Stopped
    except* _Stopped:
        log.info("stopped")
    except* LeaseLost as lost:
        log.error("stopping at once: %s", lost.exceptions[0])
        raise
    finally:
        if lease is not None:
            await lease.release()
        await runner.cleanup()
        await client.close()
        await publisher.close()
        await kube.close()


async def _leads(lease: Lease | None) -> bool:
    """Wait for the lease; False when the process is told to stop before it has it.

    Kopf, which minds SIGTERM otherwise, does not run yet; and PID 1 has no default for signals.
    """
    if lease is None:
        return True
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    tasks = [asyncio.create_task(lease.acquire()), asyncio.create_task(stop.wait())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return not stop.is_set()
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Stopped(Exception):
    """Kopf ended in an orderly way; the other tasks end with it."""


async def _first_resync(workers: Workers) -> None:
    while True:
        try:
            await workers.resync()
            await workers.call_witnesses()
            return
        except KubeError as e:
            log.error("cannot list ExecutionJobs and pods, trying again in 2 s: %s", e)
            await asyncio.sleep(2)


async def _watch(settings: Settings, store: Store, queue: WorkQueue, liveness: Liveness) -> None:
    registry = kopf.OperatorRegistry()
    handlers.register(registry, store, queue, liveness)
    options = kopf.OperatorSettings()
    handlers.configure(options)
    await kopf.operator(
        registry=registry,
        settings=options,
        standalone=True,
        clusterwide=not settings.namespaces,
        namespaces=settings.namespaces,
    )


def main() -> int:
    """Entry point; the exit code says whether the start went well."""
    parser = argparse.ArgumentParser(
        prog="nanogrid-operator",
        description="Watches ExecutionJobs and runs each in a sandbox pod. "
        "Configured by environment variables; see the chart's values.",
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
    # Kopf logs each handled event; ours log each transition.
    logging.getLogger("kopf").setLevel(logging.WARNING)
    code = 0
    try:
        asyncio.run(run(settings))
    except* LeaseLost:
        code = 1  # it is in the log
    return code


if __name__ == "__main__":
    sys.exit(main())
