"""Header mode needs a network that keeps others from the router: reads whether there is one."""

import asyncio
import logging
from typing import Final

from nanogrid.backoff import jitter
from nanogrid.kube.client import KubeApi
from nanogrid.kube.conventions import CORE, KubeError, collection
from nanogrid.network_condition import condition_of

log = logging.getLogger("nanogrid.router")

READ_SECONDS: Final = 10.0
NOT_TESTED: Final = "the operator has not tested the network yet"


class NetworkGuard:
    """Reads the condition that the operator writes; ``problem`` is empty while all is well."""

    def __init__(self, api: KubeApi, config_map: str) -> None:
        """``config_map`` is NAMESPACE/NAME; empty: nothing is read, and there is no problem."""
        self._api = api
        self._namespace, _, self._name = config_map.partition("/")
        self.problem = NOT_TESTED if config_map else ""

    def missing(self) -> list[str]:
        """The problem, for the readiness probe."""
        return [f"network: {self.problem}"] if self.problem else []

    async def run(self) -> None:
        """Read the condition for ever."""
        while self._name:
            await self.read()
            await asyncio.sleep(jitter(READ_SECONDS))

    async def read(self) -> None:
        """Read it once. If that fails, the last result counts."""
        path = collection(CORE, "configmaps", self._namespace)
        try:
            found = condition_of(await self._api.get(path, self._name))
        except (KubeError, ValueError) as e:
            log.warning("cannot read ConfigMap %s/%s: %s", self._namespace, self._name, e)
            return
        before = self.problem
        if found is None:
            self.problem = NOT_TESTED
        else:
            self.problem = "" if found.enforced else found.message
        if self.problem != before:
            level = logging.ERROR if self.problem else logging.INFO
            log.log(level, "network: %s", self.problem or "enforced")
