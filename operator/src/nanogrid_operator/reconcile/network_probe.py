"""Tests at the start, and then daily, whether the cluster enforces NetworkPolicies.

The result is in a ConfigMap of the release, where a restarted operator, the router and people find
it. :mod:`nanogrid_operator.decision.enforcement` has the rules.
"""

import asyncio
import json
import logging
import time
from collections.abc import Callable
from typing import Final

from nanogrid import names
from nanogrid.backoff import jitter
from nanogrid.kube.client import KubeApi
from nanogrid.kube.conventions import CORE, KubeError, collection
from nanogrid.lifecycle import pod_finished
from nanogrid.network_condition import (
    condition_of,
    config_map_name,
    data_of,
)
from nanogrid.types import Json
from nanogrid_operator.decision import enforcement
from nanogrid_operator.decision.enforcement import Seen
from nanogrid_operator.manifests.probe import probe_name, probe_pod
from nanogrid_operator.settings import Settings

log = logging.getLogger("nanogrid.network")

POLL_SECONDS: Final = 0.5
LOAD_SECONDS: Final = 10.0


class NetworkProbe:
    """:meth:`load` before the work, :meth:`run` during it; ``condition`` is the current result."""

    def __init__(
        self, kube: KubeApi, settings: Settings, clock: Callable[[], float] = time.time
    ) -> None:
        """``clock`` gives seconds since the epoch."""
        self._kube = kube
        self._settings = settings
        self._clock = clock
        self.condition = enforcement.first_condition(settings)
        self._pods = collection(CORE, "pods", settings.namespace)
        self._config_maps = collection(CORE, "configmaps", settings.namespace)

    async def load(self) -> None:
        """Take the result of an earlier operator, so that a restart delays no job."""
        if not enforcement.tests_network(self._settings):
            return
        name = config_map_name(self._settings.fullname)
        try:
            async with asyncio.timeout(LOAD_SECONDS):
                found = condition_of(await self._kube.get(self._config_maps, name))
        except (KubeError, TimeoutError, ValueError) as e:
            log.warning(
                "cannot read ConfigMap %s, so the next test decides: %s %s",
                name,
                type(e).__name__,
                e,
            )
            return
        if found is not None and found.last_probe_time:
            self.condition = found

    async def run(self) -> None:
        """Test for ever. Without policies of the chart there is nothing to test."""
        if not enforcement.tests_network(self._settings):
            log.warning("network: %s", self.condition.message)
            await self._store()
            return
        await asyncio.sleep(enforcement.first_pause_seconds(self.condition, self._clock()))
        while True:
            await self.test()
            await asyncio.sleep(jitter(enforcement.pause_seconds(self.condition, self._settings)))

    async def test(self) -> None:
        """Test once, and store the result."""
        denied, allowed = await asyncio.gather(*map(self._observe, names.PROBE_KINDS))
        found = enforcement.judge(denied, allowed)
        self.condition = enforcement.next_condition(self.condition, found, self._clock())
        level = logging.INFO if self.condition.enforced else logging.ERROR
        log.log(level, "network %s: %s", self.condition.reason, self.condition.message)
        await self._store()

    async def _store(self) -> None:
        if not (self._settings.fullname and self._settings.namespace):
            return
        name = config_map_name(self._settings.fullname)
        try:
            await self._kube.patch(self._config_maps, name, {"data": data_of(self.condition)})
        except KubeError as e:
            log.error("cannot write ConfigMap %s, which the chart creates: %s", name, e)

    async def _observe(self, kind: str) -> Seen:
        """Run one pod to its end, and delete it."""
        name, last = probe_name(kind, self._settings), "it was not created"
        try:
            async with asyncio.timeout(self._settings.network_probe_timeout_seconds):
                await self._create(kind, name)
                while True:
                    pod = await self._kube.get(self._pods, name)
                    if pod_finished(pod):
                        return read_seen(pod)
                    last = _state(pod)
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            seconds = self._settings.network_probe_timeout_seconds
            return Seen("", f"pod {name} did not end within {seconds} s: {last}")
        except KubeError as e:
            return Seen("", f"pod {name}: {e}")
        finally:
            await self._delete(name)

    async def _create(self, kind: str, name: str) -> None:
        """Create the pod; one of an operator that was killed goes first."""
        while True:
            try:
                await self._kube.create(self._pods, probe_pod(kind, self._settings))
                return
            except KubeError as e:
                if e.code != 409:
                    raise
            await self._delete(name)
            await asyncio.sleep(POLL_SECONDS)

    async def _delete(self, name: str) -> None:
        try:
            await self._kube.delete(self._pods, name)
        except KubeError as e:
            log.warning("cannot delete pod %s: %s", name, e)


def read_seen(pod: Json) -> Seen:
    """What a pod that has ended observed, from its termination message."""
    statuses = pod.get("status", {}).get("containerStatuses") or [{}]
    ended = statuses[0].get("state", {}).get("terminated") or {}
    try:
        found = json.loads(ended.get("message", ""))
        return Seen(str(found["port"]), str(found.get("detail", "")))
    except (ValueError, KeyError, TypeError):
        status = pod.get("status", {})
        texts = (status.get("reason"), status.get("message"), ended.get("reason"))
        why = " ".join(t for t in texts if t) or "no termination message"
        return Seen("", f"pod {pod['metadata']['name']} ended without a result: {why}")


def _state(pod: Json) -> str:
    """Why a pod has not ended, for people."""
    status = pod.get("status", {})
    waiting = [
        text
        for c in status.get("containerStatuses") or []
        for text in (c.get("state", {}).get("waiting") or {}).values()
    ]
    unmet = [c.get("message", "") for c in status.get("conditions") or [] if c["status"] == "False"]
    return " ".join([status.get("phase", "Pending"), *(waiting or unmet)]).strip()
