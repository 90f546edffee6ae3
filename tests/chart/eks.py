"""The EKS package: the chart's manifests with its values files, filled in from the stacks.

Needs helm but no cluster. Sources: the EKS user guide on Fargate pod configuration and
considerations, and the Load Balancer Controller's annotations.
"""

import functools

import pytest
import yaml

from nanogrid.types import Json
from scripts.eks import fill
from support import aws_stacks
from support.eks_network import EKS
from support.helm import manifests, named, pod_spec

BOTH_VALUES = pytest.mark.parametrize("values", ["values-fargate.yaml", "values-ec2.yaml"])


def outputs_for(file: str) -> dict[str, str]:
    """The outputs of the stack that a file needs."""
    return aws_stacks.outputs_for(EKS / file)


@functools.cache
def render(values: str, redis: str = "redis-password.yaml") -> list[Json]:
    """The chart's manifests with one of the values files, and that of Redis, filled in."""
    (first,), (second,) = filled(values), filled(redis)
    return manifests("-n", "nanogrid-system", values=_merged(first, second))


def _merged(first: Json, second: Json) -> Json:
    """Two values files, as helm merges them."""
    both = {key: _merged(first[key], second[key]) for key in first.keys() & second.keys()
            if isinstance(first[key], dict) and isinstance(second[key], dict)}  # fmt: skip
    return first | second | both


def filled(file: str) -> list[Json]:
    """The documents of one of the other files, filled in."""
    return list(yaml.safe_load_all(fill((EKS / file).read_text(), outputs_for(file))))


def containers_of(deployment: Json) -> list[Json]:
    """The containers of a Deployment's pods."""
    found: list[Json] = pod_spec(deployment)["containers"]
    return found


def gateway_of(documents: list[Json]) -> tuple[Json, dict[str, str]]:
    """The gateway's pod and its container's plain variables."""
    found = named("Deployment", "nanogrid-gateway", documents)
    env = containers_of(found)[0]["env"]
    return pod_spec(found), {e["name"]: e.get("value", "") for e in env}
