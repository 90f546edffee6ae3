"""The EKS package: the chart's manifests with its values files, and its CloudFormation stack.

Needs helm but no cluster. Sources: the EKS user guide on Fargate pod configuration and
considerations, and the Load Balancer Controller's annotations.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml

from nanogrid.types import Json
from support.helm import manifests, named, pod_spec

EKS = Path("examples/eks")
BOTH_VALUES = pytest.mark.parametrize("values", ["values-fargate.yaml", "values-ec2.yaml"])


def render(values: str) -> list[Json]:
    """The chart's manifests with one of the values files."""
    return manifests("-n", "nanogrid-system", "-f", str(EKS / values))


def containers_of(deployment: Json) -> list[Json]:
    """The containers of a Deployment's pods."""
    found: list[Json] = pod_spec(deployment)["containers"]
    return found


def gateway_of(documents: list[Json]) -> tuple[Json, dict[str, str]]:
    """The gateway's pod and its container's plain variables."""
    found = named("Deployment", "nanogrid-gateway", documents)
    env = containers_of(found)[0]["env"]
    return pod_spec(found), {e["name"]: e.get("value", "") for e in env}


class _Template(yaml.SafeLoader):
    """Reads the short functions of CloudFormation as their text."""


_Template.add_multi_constructor("!", lambda loader, _, node: node.value)


def roles() -> Json:
    """The properties of each role in the two stacks."""
    found = {}
    for file in ("roles.cfn.yaml", "tenant.cfn.yaml"):
        template = yaml.load((EKS / file).read_text(), _Template)
        for name, resource in template["Resources"].items():
            if resource["Type"] == "AWS::IAM::Role":
                found[name] = resource["Properties"]
    return found


def rights_of(role: Json) -> set[tuple[str, str]]:
    """Action and key pattern of each permission of a role; the pattern is empty for the bucket."""
    return {
        (action, resource.partition("${Bucket}")[2])
        for policy in role["Policies"]
        for statement in policy["PolicyDocument"]["Statement"]
        for action in statement["Action"]
        for resource in as_list(statement["Resource"])
    }


def as_list(value: Any) -> list[Any]:
    """The value, as a list if it is not one."""
    return value if isinstance(value, list) else [value]
