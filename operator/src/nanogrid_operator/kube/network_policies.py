"""Creates the NetworkPolicies of a namespace before its first sandbox pod, and keeps them right."""

import time
from collections.abc import Callable, Sequence
from typing import Final

from nanogrid.kube.client import KubeApi
from nanogrid.kube.conventions import KubeError, collection
from nanogrid.types import Json
from nanogrid_operator.kube.ensured import Ensured

NETWORKING: Final = "/apis/networking.k8s.io/v1"
PLURAL: Final = "networkpolicies"


class NetworkPolicies:
    """Ensures the policies of a namespace; see :class:`.ensured.Ensured`."""

    def __init__(
        self,
        kube: KubeApi,
        policies: Sequence[Json],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``policies`` are the manifests, without a namespace; none if the chart makes none."""
        self._kube = kube
        self._policies = policies
        self._ensured = Ensured(clock)

    async def ensure(self, namespace: str) -> None:
        """Create the policies, or put ours right.

        Raises:
            KubeError: The API server refused. Then no pod may start.
        """
        if self._policies:
            await self._ensured.run(namespace, lambda: self._ensure(namespace))

    async def _ensure(self, namespace: str) -> None:
        for policy in self._policies:
            await self._ensure_one(namespace, policy)

    async def _ensure_one(self, namespace: str, policy: Json) -> None:
        path, name = collection(NETWORKING, PLURAL, namespace), policy["metadata"]["name"]
        try:
            await self._kube.create(path, policy)
        except KubeError as e:
            if e.code != 409:
                raise
            found = await self._kube.get(path, name)
            if found.get("spec") == policy["spec"]:
                return
            # A policy of this name decides about sandbox pods, so it is ours in any case.
            version = {"resourceVersion": found["metadata"]["resourceVersion"]}
            body = {**policy, "metadata": {**policy["metadata"], **version}}
            await self._kube.replace(path, name, body)
