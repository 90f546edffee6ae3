"""Where the data of one namespace is: its bucket and root in S3, its keys and streams in Redis.

Every namespace is a tenant. All S3 keys of a namespace are below its root, which is ``NAMESPACE/``
by default. One namespace of an installation, the *compatibility namespace*, has the names of the
older systems: an empty root, and Redis keys without the namespace. Installations that share a Redis
put a prefix before all names in it.

In a Redis Cluster the namespace is in braces, a hash tag: so all names of a namespace are in one
slot, and one script can write all of them. Names of several namespaces cannot be written together,
so there is no stream of the platform and no compatibility namespace. Standard library only.
"""

import re
from dataclasses import dataclass
from typing import Final

# The stream of the platform team: the results of all namespaces. A prefix comes before it.
PLATFORM_STREAM: Final = "results"
ENV_REDIS_PREFIX: Final = "NANOGRID_REDIS_PREFIX"
_REDIS_PREFIX: Final = re.compile(r"[A-Za-z0-9_.:-]{1,100}")


def redis_prefix_problem(prefix: str) -> str:
    """Why a text cannot be the prefix of all names in Redis; empty if it can, and for none."""
    if not prefix or _REDIS_PREFIX.fullmatch(prefix):
        return ""
    return "expected up to 100 of A-Z, a-z, 0-9, ., _, : and -, such as prod:"


def redis_cluster_problem(compatibility_namespace: str) -> str:
    """Why an installation cannot have its results in a Redis Cluster; empty if it can."""
    if not compatibility_namespace:
        return ""
    return (
        f"{compatibility_namespace} is the compatibility namespace, whose keys have no namespace, "
        "and so each key is in another slot of a Redis Cluster than its stream: set "
        'tenancy.compatibilityNamespace to "-"'
    )


def default_root(namespace: str, prefix: str = "") -> str:
    """The root of a namespace that the installation does not name.

    Args:
        namespace: the Kubernetes namespace.
        prefix: of the installation's roots: empty, or a path that ends with a slash.
    """
    return f"{prefix}{namespace}/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """The bucket, root and Redis names of one namespace.

    Attributes:
        namespace: the Kubernetes namespace.
        bucket: the S3 bucket; empty if the installation has none.
        root: prefix of all keys: empty, or a path that ends with a slash.
        plain: whether it is the compatibility namespace, with Redis keys of the older form.
        redis_prefix: before all names in Redis.
        redis_cluster: whether the names are in a Redis Cluster.
    """

    namespace: str
    bucket: str
    root: str
    plain: bool = False
    redis_prefix: str = ""
    redis_cluster: bool = False

    @classmethod
    def of(
        cls,
        namespace: str,
        *,
        bucket: str,
        root: str | None = None,
        compatibility_namespace: str = "",
        prefix: str = "",
        redis_prefix: str = "",
        redis_cluster: bool = False,
    ) -> "Area":
        """The area of a namespace; ``root`` None is the default root, below the ``prefix``."""
        plain = namespace == compatibility_namespace
        default = prefix if plain else default_root(namespace, prefix)
        return cls(
            namespace=namespace,
            bucket=bucket,
            root=default if root is None else root,
            plain=plain,
            redis_prefix=redis_prefix,
            redis_cluster=redis_cluster,
        )

    def key(self, relative: str) -> str:
        """The S3 key of a name of :mod:`nanogrid.names`, such as ``results/ID/result.json``."""
        return self.root + relative

    def result_key(self, request_id: str) -> str:
        """The Redis key and Redis channel of a request's result."""
        own = "" if self.plain else f"{self._tag}:"
        return f"{self.redis_prefix}result:{own}{request_id}"

    @property
    def stream(self) -> str:
        """The Redis stream with the results of this namespace only."""
        return f"{self.redis_prefix}{PLATFORM_STREAM}:{self._tag}"

    @property
    def _tag(self) -> str:
        return f"{{{self.namespace}}}" if self.redis_cluster else self.namespace

    @property
    def platform_stream(self) -> str:
        """The Redis stream of the platform team: the results of all namespaces."""
        return f"{self.redis_prefix}{PLATFORM_STREAM}"

    @property
    def streams(self) -> tuple[str, ...]:
        """The Redis streams that get the results of this namespace, its own one first."""
        return (self.stream,) if self.redis_cluster else (self.stream, self.platform_stream)
