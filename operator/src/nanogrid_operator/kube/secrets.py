"""Copies the S3 keys into a Secret in the job's namespace, where sandbox pods can refer to them.

This happens only with static keys and ``NANOGRID_S3_SECRET_REPLICATE``. With a role on the service
account there are no keys to copy. If the platform team creates the Secret, only they should.
"""

import base64
import time
from collections.abc import Callable

from nanogrid import names
from nanogrid.kube.client import KubeApi
from nanogrid.kube.conventions import CORE, KubeError, collection
from nanogrid_operator.kube.ensured import Ensured
from nanogrid_operator.settings import Settings


class S3SecretReplica:
    """Ensures the Secret of a namespace; see :class:`.ensured.Ensured`."""

    def __init__(
        self, kube: KubeApi, settings: Settings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._kube = kube
        self._settings = settings
        self._ensured = Ensured(clock)

    async def ensure(self, namespace: str) -> None:
        """Create the Secret, or update ours. A Secret that is not ours is left unchanged.

        Raises:
            KubeError: The API server refused.
        """
        if self._settings.s3_secret_replicate and self._settings.s3_secret:
            await self._ensured.run(namespace, lambda: self._ensure(namespace))

    async def _ensure(self, namespace: str) -> None:
        s = self._settings
        path = collection(CORE, "secrets", namespace)
        keys = {"AWS_ACCESS_KEY_ID": s.s3_access_key, "AWS_SECRET_ACCESS_KEY": s.s3_secret_key}
        data = {k: base64.b64encode(v.encode()).decode() for k, v in keys.items()}
        labels = {"app.kubernetes.io/managed-by": names.MANAGED_BY}
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": s.s3_secret, "labels": labels},
            "data": data,
        }
        try:
            await self._kube.create(path, body)
        except KubeError as e:
            if e.code != 409:
                raise
            found = await self._kube.get(path, s.s3_secret)
            ours = (found["metadata"].get("labels") or {}).items() >= labels.items()
            if ours and found.get("data") != data:
                await self._kube.patch(path, s.s3_secret, {"data": data})

    def forget(self, namespace: str) -> None:
        """A pod lacks its Secret: check again at the next call."""
        self._ensured.forget(namespace)
