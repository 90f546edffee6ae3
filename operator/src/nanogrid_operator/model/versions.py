"""Versions of Kubernetes objects. Pure."""

from nanogrid.types import Json


def version_of(body: Json) -> int:
    """An object's resourceVersion as a number that grows with each change."""
    # By contract it is opaque. It is an increasing integer in fact (etcd's revision), and from
    # Kubernetes 1.35 on it is comparable by contract as well:
    # https://kubernetes.io/docs/reference/using-api/api-concepts/
    return int(body["metadata"]["resourceVersion"])
