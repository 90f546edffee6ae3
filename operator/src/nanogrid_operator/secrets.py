"""Puts the S3 keys where sandbox pods can refer to them: a Secret in the job's own namespace.

Only used with static keys and ``NANOGRID_S3_SECRET_REPLICATE``. With a role on the service account
there is nothing to copy, and where the platform team places the Secret itself, nobody else should.
"""

import base64

from nanogrid import names
from nanogrid_operator.kube import CORE, KubeApi, KubeError, collection
from nanogrid_operator.settings import Settings


class S3SecretReplica:
    """Ensures the Secret once per namespace and process."""

    def __init__(self, kube: KubeApi, settings: Settings) -> None:
        self._kube = kube
        self._settings = settings
        self._done: set[str] = set()

    async def ensure(self, namespace: str) -> None:
        """Create the Secret, or bring ours up to date; one that is not ours is left alone.

        Raises:
            KubeError: the API server refused.
        """
        s = self._settings
        if not s.s3_secret_replicate or not s.s3_secret or namespace in self._done:
            return
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
        self._done.add(namespace)
