"""Two installations in one account: their stacks share the base, and no name or role."""

import json
from typing import Any

import boto3
import pytest

from nanogrid.types import Json
from scripts.eks import outputs
from support.aws_stacks import BASE, PLATFORM, account, deploy, described
from support.eks_network import PARAMETERS

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
SECOND, SECOND_NAMESPACE = "nanogrid-beta-platform", "nanogrid-beta"


def platform(name: str, group: str, **given: str) -> None:
    """Deploy the stack of an installation with a Redis of its own."""
    own = {"ClusterSecurityGroup": group, "RedisHost": f"{name}.example.com"}
    deploy(name, "platform.cfn.yaml", PARAMETERS | own | given)


def roles() -> dict[str, Json]:
    """The trust policies of all roles, by name."""
    client: Any = boto3.client("iam")
    return {r["RoleName"]: r["AssumeRolePolicyDocument"] for r in client.list_roles()["Roles"]}


def test_the_roles_of_the_second_installation_are_for_its_namespace_only() -> None:
    with account():
        deploy(BASE, "base.cfn.yaml", {"Ec2Nodes": "false"})
        group = boto3.client("ec2").create_security_group(
            GroupName="eks", Description="EKS", VpcId=outputs(described(BASE))["Vpc"]
        )["GroupId"]
        platform(PLATFORM, group)
        before = roles()
        platform(SECOND, group, OperatorNamespace=SECOND_NAMESPACE)
        added = {name: trust for name, trust in roles().items() if name not in before}
        kept = {name: trust for name, trust in roles().items() if name in before}
        first, second = outputs(described(PLATFORM)), outputs(described(SECOND))

    assert kept == before
    assert len(added) >= 2
    assert all(name.startswith(SECOND) for name in added)
    for trust in added.values():
        text = json.dumps(trust)
        assert SECOND_NAMESPACE in text
        assert "nanogrid-system" not in text
    # The first installation's roles are for its own namespace: the check above can fail.
    own = [json.dumps(t) for name, t in before.items() if name.startswith(f"{PLATFORM}-")]
    assert own
    assert any("nanogrid-system" in text for text in own)
    differ = {key for key in first if "Role" in key}
    assert differ
    assert all(first[key] != second[key] for key in differ)
