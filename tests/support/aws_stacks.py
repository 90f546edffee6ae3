"""The stacks of examples/eks, deployed to moto: what AWS would answer, without AWS.

moto makes networks, security groups, endpoints, roles, buckets and repositories. It does not know
ElastiCache and Secrets Manager in templates, so the stack has a Redis that exists already.
"""

import functools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import boto3
from moto import mock_aws

from nanogrid.types import Json
from scripts.eks import outputs
from support.cloudformation import Stack, load
from support.eks_network import EKS, PARAMETERS

REGION = "ap-northeast-2"
ACCOUNT = {
    "AWS_ACCESS_KEY_ID": "x",
    "AWS_SECRET_ACCESS_KEY": "x",
    "AWS_DEFAULT_REGION": REGION,
    "MOTO_EC2_LOAD_DEFAULT_AMIS": "false",  # each account would get 1,300 images first
}
BASE, PLATFORM, TENANT = "nanogrid", "nanogrid-platform", "nanogrid-jobs-analytics"


@contextmanager
def account() -> Iterator[None]:
    """An empty account."""
    with mock.patch.dict("os.environ", ACCOUNT), mock_aws():
        yield


@contextmanager
def deployed(sandboxes: str = "Fargate") -> Iterator[None]:
    """All stacks, in an account of their own, in the order of docs/eks.md."""
    with account():
        deploy(BASE, "base.cfn.yaml", {"Ec2Nodes": str(sandboxes == "EC2").lower()})
        ec2 = boto3.client("ec2")
        group = ec2.create_security_group(
            GroupName="eks-cluster-sg", Description="EKS", VpcId=outputs(described(BASE))["Vpc"]
        )
        (s3,) = [
            each["PrefixListId"]
            for each in ec2.describe_managed_prefix_lists()["PrefixLists"]
            if each["PrefixListName"] == f"com.amazonaws.{REGION}.s3"
        ]
        given = {
            "Sandboxes": sandboxes,
            "ClusterSecurityGroup": group["GroupId"],
            "S3PrefixList": s3,
            "RedisHost": "redis.example.com",
        }
        deploy(PLATFORM, "platform.cfn.yaml", PARAMETERS | given)
        deploy(TENANT, "tenant.cfn.yaml", {"Namespace": "jobs-analytics"})
        yield


def described(stack: str) -> str:
    """The output of ``aws cloudformation describe-stacks --stack-name STACK``."""
    client: Any = boto3.client("cloudformation")
    answer = client.describe_stacks(StackName=stack)
    return json.dumps({"Stacks": answer["Stacks"]}, default=str)


def role(name: str) -> Json:
    """The trust policy and the only inline policy of the role with this logical id."""
    client: Any = boto3.client("iam")
    (found,) = [r for r in client.list_roles()["Roles"] if r["RoleName"].rsplit("-", 2)[-2] == name]
    (policy,) = client.list_role_policies(RoleName=found["RoleName"])["PolicyNames"]
    inline = client.get_role_policy(RoleName=found["RoleName"], PolicyName=policy)
    return {"trust": found["AssumeRolePolicyDocument"], "policy": inline["PolicyDocument"]}


@dataclass(frozen=True)
class Snapshot:
    """What an account has when all stacks are deployed.

    ``stacks`` are the outputs of ``aws cloudformation describe-stacks`` by stack, ``roles`` the
    policies by logical id. Tests share a snapshot, so they must not change it.
    """

    stacks: dict[str, str]
    endpoints: list[Any]
    security_groups: list[Any]
    roles: dict[str, Json]


@functools.cache
def snapshot(sandboxes: str) -> Snapshot:
    """Deploy all stacks once per process: it takes a second."""
    with deployed(sandboxes):
        ec2: Any = boto3.client("ec2")
        return Snapshot(
            stacks={stack: described(stack) for stack in (BASE, PLATFORM, TENANT)},
            endpoints=ec2.describe_vpc_endpoints()["VpcEndpoints"],
            security_groups=ec2.describe_security_groups()["SecurityGroups"],
            roles={name: role(name) for name in ("OperatorRole", "GatewayRole", "SandboxRole")},
        )


@functools.cache
def all_outputs(sandboxes: str = "Fargate") -> dict[str, dict[str, str]]:
    """The outputs of each stack."""
    return {stack: outputs(text) for stack, text in snapshot(sandboxes).stacks.items()}


def stack_of(file: Path) -> str:
    """The stack in the command of the file's first lines."""
    (line,) = [s for s in file.read_text().splitlines() if "describe-stacks" in s]
    return line.split("--stack-name ")[1].split()[0]


def outputs_for(file: Path) -> dict[str, str]:
    """The outputs that fill in a file."""
    found = all_outputs()[stack_of(file)]
    return found | redis_outputs("iam") if file.name == "redis-iam.yaml" else found


def redis_outputs(authentication: str) -> dict[str, str]:
    """What the stack says of a Redis that it makes, without moto."""
    given = PARAMETERS | {"RedisAuthentication": authentication}
    stack = Stack(EKS / "platform.cfn.yaml", given, all_outputs()[BASE])
    return {name: text for name, text in stack.outputs.items() if "Redis" in name}


def deploy(name: str, file: str, given: dict[str, str]) -> None:
    """Create a stack. moto does not split the defaults of lists, so each parameter is given."""
    declared = load(EKS / file)["Parameters"]
    values = {n: str(given.get(n, body.get("Default"))) for n, body in declared.items()}
    boto3.client("cloudformation").create_stack(
        StackName=name,
        TemplateBody=(EKS / file).read_text(),
        Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in values.items()],
        Capabilities=["CAPABILITY_IAM"],
    )
