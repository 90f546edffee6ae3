"""What a client opens when a call needs it: the API server and S3."""

from threading import Lock
from typing import TYPE_CHECKING

from nanogrid.client.kube.cluster import Cluster

if TYPE_CHECKING:
    from nanogrid.client.storage import Storage


class Resources:
    """The API server and S3 of a client, each opened once. Safe for threads.

    Args:
        context: of the kubeconfig.
        kubeconfig: its path.
        namespace: default is $NANOGRID_NAMESPACE, then the namespace of the kubeconfig.
        s3: default is the S3 of the environment (see Storage.find).
        cluster: connection to the API server, instead of the first three arguments.
    """

    def __init__(
        self,
        context: str | None,
        kubeconfig: str | None,
        namespace: str | None,
        s3: "Storage | None",
        cluster: Cluster | None,
    ) -> None:
        self._location = (context, kubeconfig, namespace)
        self._cluster = cluster
        self._own_storage: Storage | None = None
        self._storage = s3
        # Two locks, because finding the storage needs the cluster.
        self._cluster_lock, self._storage_lock = Lock(), Lock()

    @property
    def cluster(self) -> Cluster:
        """The API server.

        Raises:
            NotConfigured: there are no credentials.
        """
        with self._cluster_lock:
            if self._cluster is None:
                self._cluster = Cluster.connect(*self._location)
            return self._cluster

    @property
    def namespace(self) -> str:
        """The default namespace."""
        return self.cluster.namespace

    @property
    def storage(self) -> "Storage":
        """S3, for uploads and outputs.

        Raises:
            NotConfigured: no S3 is configured.
        """
        with self._storage_lock:
            if self._storage is None:
                from nanogrid.client.storage import Storage

                self._storage = self._own_storage = Storage.find(self.cluster)
            return self._storage

    def _close_storage(self) -> None:
        """Close S3, unless it was given."""
        with self._storage_lock:
            if self._own_storage is not None:
                self._own_storage.close()
                self._own_storage = self._storage = None
