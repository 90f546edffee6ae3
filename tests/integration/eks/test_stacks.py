"""The stacks of the EKS package, deployed to moto, and the files that their outputs fill in."""

import json
import re
import subprocess
import sys
from pathlib import Path

import boto3
import kubernetes_validate
import pytest
import yaml

from nanogrid.types import Json
from scripts.eks import PLACEHOLDER, fill, outputs
from support.aws_stacks import (
    BASE,
    PLATFORM,
    TENANT,
    account,
    all_outputs,
    deploy,
    described,
    outputs_for,
    redis_outputs,
    snapshot,
    stack_of,
)
from support.cloudformation import Stack
from support.eks_network import EKS, PARAMETERS

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
FILLED = sorted(p for p in EKS.glob("*.yaml") if PLACEHOLDER.search(p.read_text())
                and ".cfn" not in p.name)  # fmt: skip
MANIFESTS = ["logging.yaml", "namespace.yaml", "security-group.yaml", "system.yaml"]


def documents(file: Path) -> list[Json]:
    return list(yaml.safe_load_all(fill(file.read_text(), outputs_for(file))))


@pytest.mark.parametrize("file", FILLED, ids=lambda path: path.name)
def test_the_stack_named_in_a_file_has_all_its_outputs(file: Path) -> None:
    for document in documents(file):
        assert "${" not in json.dumps(document)


def test_the_command_prints_the_file() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/eks.py", "namespace.yaml"],
        input=snapshot("Fargate").stacks[TENANT], capture_output=True, text=True,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    namespace, account = yaml.safe_load_all(done.stdout)
    assert namespace["metadata"]["name"] == "jobs-analytics"
    assert account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"].startswith(
        "arn:aws:iam::"
    )


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifests_are_valid_for_kubernetes(name: str) -> None:
    for document in documents(EKS / name):
        if document["kind"] != "SecurityGroupPolicy":  # a resource of EKS, without a public schema
            kubernetes_validate.validate(document, "1.34", strict=True)
            wrong = document | {"metadatum": 1}
            with pytest.raises(kubernetes_validate.ValidationError):
                kubernetes_validate.validate(wrong, "1.34", strict=True)


def test_each_namespace_exists_before_what_is_in_it() -> None:
    guide = Path("docs/eks.md").read_text()
    made: set[str] = {"kube-system"}
    for name in sorted(MANIFESTS, key=lambda each: guide.index(f"FILE={each}")):
        for document in documents(EKS / name):
            if document["kind"] == "Namespace":
                made.add(document["metadata"]["name"])
            else:
                assert document["metadata"]["namespace"] in made, (name, document["kind"])
    assert guide.index("FILE=system.yaml") < guide.index("kubectl create secret")
    assert guide.index("kubectl create secret") < guide.index("helm upgrade --install nanogrid ")


def test_the_only_owner_of_the_network_is_the_stack() -> None:
    for name in ("cluster-fargate.yaml", "cluster-ec2.yaml"):
        cluster = documents(EKS / name)[0]
        assert cluster["privateCluster"] == {"enabled": True, "skipEndpointCreation": True}
        assert cluster["vpc"]["id"] == all_outputs()[BASE]["Vpc"]
        assert "nat" not in cluster["vpc"]


@pytest.mark.parametrize(
    ("sandboxes", "more"), [("Fargate", set()), ("EC2", {"autoscaling", "eks-auth", "s3"})]
)
def test_the_base_stack_makes_the_endpoints(sandboxes: str, more: set[str]) -> None:
    kinds: dict[str, list[str]] = {"Interface": [], "Gateway": []}
    for endpoint in snapshot(sandboxes).endpoints:
        service = endpoint["ServiceName"].removeprefix("com.amazonaws.ap-northeast-2.")
        kinds[endpoint["VpcEndpointType"]].append(service)
    common = {"ec2", "ecr.api", "ecr.dkr", "elasticloadbalancing", "logs", "sts"}
    assert set(kinds["Interface"]) == common | more
    assert kinds["Gateway"] == ["s3"]


def test_the_load_balancer_controller_cleans_up_the_sandboxes_group_and_no_other() -> None:
    """It looks for leftover rules in tagged groups; a pod with two of them stops it."""
    tag = f"kubernetes.io/cluster/{all_outputs()[BASE]['ClusterName']}"
    tagged = [
        group["GroupId"]
        for group in snapshot("Fargate").security_groups
        if tag in {each["Key"] for each in group.get("Tags", [])}
    ]

    assert tagged == [all_outputs()[PLATFORM]["SandboxSecurityGroup"]]


def test_with_your_network_the_base_stack_makes_the_endpoints_in_it() -> None:
    with account():
        ec2 = boto3.client("ec2")
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnets = [
            ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{n}.0/24")["Subnet"]["SubnetId"]
            for n in (0, 1)
        ]
        table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
        before = ec2.describe_vpcs()["Vpcs"]
        deploy(BASE, "base.cfn.yaml",
               {"Vpc": vpc, "Subnets": ",".join(subnets), "RouteTables": table})  # fmt: skip

        assert ec2.describe_vpcs()["Vpcs"] == before, "no second network"
        endpoints = ec2.describe_vpc_endpoints()["VpcEndpoints"]
        assert {each["VpcId"] for each in endpoints} == {vpc}
        assert outputs(described(BASE))["SubnetB"] == subnets[1]

        own = {"Vpc": vpc, "Subnets": ",".join(subnets), "Endpoints": "false",
               "EndpointSecurityGroup": "sg-1"}  # fmt: skip
        deploy("other", "base.cfn.yaml", own)
        assert len(ec2.describe_vpc_endpoints()["VpcEndpoints"]) == len(endpoints), "yours only"
        assert outputs(described("other"))["EndpointSecurityGroup"] == "sg-1"


def test_the_endpoint_of_cloudwatch_is_made_when_it_is_wanted() -> None:
    with account():
        deploy(BASE, "base.cfn.yaml", {"CloudWatchEndpoint": "true"})
        endpoints = boto3.client("ec2").describe_vpc_endpoints()["VpcEndpoints"]

    services = {each["ServiceName"].rsplit(".", 1)[-1]: each for each in endpoints}
    policy = parsed(services["monitoring"]["PolicyDocument"])
    assert [s["Action"] for s in policy["Statement"]] == ["cloudwatch:PutMetricData"]
    assert policy["Statement"][0]["Condition"] == {
        "StringEquals": {"aws:PrincipalAccount": "123456789012"}
    }
    assert services["monitoring"]["PrivateDnsEnabled"]


# The roles.


def rights(policy: Json) -> set[tuple[str, str]]:
    """Action and key pattern of each permission; the pattern is empty for the bucket."""
    found = set()
    for statement in policy["Statement"]:
        resources = statement["Resource"]
        for resource in resources if isinstance(resources, list) else [resources]:
            bucket, _, keys = resource.removeprefix("arn:aws:s3:::").partition("/")
            assert bucket == all_outputs()[BASE]["Bucket"]
            found |= {(action, keys) for action in statement["Action"]}
    return found


@pytest.fixture(scope="module")
def roles() -> dict[str, Json]:
    return {
        name: each | {"policy": parsed(each["policy"])}
        for name, each in snapshot("Fargate").roles.items()
    }


def parsed(document: Json | str) -> Json:
    found: Json = yaml.safe_load(document) if isinstance(document, str) else document
    return found


ACCOUNTS = {
    "OperatorRole": ("nanogrid-system", "nanogrid"),
    "GatewayRole": ("nanogrid-system", "nanogrid-gateway"),
    "SandboxRole": ("jobs-analytics", "nanogrid-sandbox"),
}


@pytest.mark.security
@pytest.mark.parametrize("name", ACCOUNTS)
def test_a_role_trusts_one_service_account_with_irsa_and_pod_identity(
    name: str, roles: dict[str, Json]
) -> None:
    irsa, pod_identity = roles[name]["trust"]["Statement"]
    namespace, account = ACCOUNTS[name]

    assert list(irsa["Condition"]) == list(pod_identity["Condition"]) == ["StringEquals"]
    assert set(irsa["Condition"]["StringEquals"].values()) == {
        "sts.amazonaws.com", f"system:serviceaccount:{namespace}:{account}",
    }  # fmt: skip
    assert irsa["Action"] == "sts:AssumeRoleWithWebIdentity"
    assert pod_identity["Principal"] == {"Service": "pods.eks.amazonaws.com"}
    assert pod_identity["Condition"]["StringEquals"] == {
        "aws:SourceAccount": "123456789012",
        "aws:RequestTag/kubernetes-namespace": namespace,
        "aws:RequestTag/kubernetes-service-account": account,
    }


@pytest.mark.security
def test_a_role_has_the_rights_of_its_part_only(roles: dict[str, Json]) -> None:
    root = "jobs-analytics"
    assert {name: rights(each["policy"]) for name, each in roles.items()} == {
        "OperatorRole": {
            ("s3:ListBucket", ""), ("s3:GetObject", "*/results/*"), ("s3:PutObject", "*/results/*"),
        },
        "GatewayRole": {
            ("s3:ListBucket", ""),
            ("s3:GetObject", f"{root}/results/*"),
            ("s3:GetObject", f"{root}/outputs/*"),
            ("s3:PutObject", f"{root}/functions/*"),
            ("s3:DeleteObject", f"{root}/functions/*"),
        },
        "SandboxRole": {
            ("s3:ListBucket", ""),
            ("s3:GetObject", f"{root}/*"),
            ("s3:GetObjectVersion", f"{root}/*"),
            *((f"s3:{verb}", f"{root}/{folder}/*") for verb in ("PutObject", "AbortMultipartUpload")
              for folder in ("results", "outputs", "sessions")),
        },
    }  # fmt: skip
    (listing,) = [
        s for s in roles["SandboxRole"]["policy"]["Statement"] if s["Action"] == ["s3:ListBucket"]
    ]
    assert listing["Condition"] == {"StringLike": {"s3:prefix": f"{root}/*"}}


@pytest.mark.security
def test_the_operator_may_send_metrics_to_one_namespace_when_it_is_wanted() -> None:
    def policies(**given: str) -> list[Json]:
        stack = Stack(EKS / "platform.cfn.yaml", PARAMETERS | given, all_outputs()[BASE])
        return [
            each["Properties"] for each in stack.resources.values()
            if "cloudwatch" in json.dumps(each)
        ]  # fmt: skip

    assert policies() == []
    (policy,) = policies(CloudWatchNamespace="NanoGrid")
    assert policy["RoleName"] == "OperatorRole"
    assert policy["PolicyDocument"]["Statement"] == [
        {
            "Effect": "Allow", "Action": ["cloudwatch:PutMetricData"], "Resource": "*",
            "Condition": {"StringEquals": {"cloudwatch:namespace": "NanoGrid"}},
        }
    ]  # fmt: skip


@pytest.mark.security
def test_the_users_of_redis_have_the_permissions_of_the_guide() -> None:
    guide = Path("docs/operations.md").read_text()
    platform = Stack(EKS / "platform.cfn.yaml", PARAMETERS, all_outputs()[BASE])
    users = {u["UserName"]: u for u in platform.of_type("AWS::ElastiCache::User").values()}

    def permissions(name: str) -> str:
        found = re.findall(rf"^ACL SETUSER {name} on >PASSWORD (.*)$", guide, re.M)
        (line,) = [rights for rights in found if "+cluster|" not in rights]
        return f"on {line}"

    own = "result:jobs-analytics:*"
    assert users["nanogrid"]["AccessString"] == permissions("nanogrid")
    assert users["gateway"]["AccessString"] == permissions("gateway").replace("result:*", own)
    assert users["default"]["AccessString"] == "off -@all"
    for user in users.values():
        (password,) = user["AuthenticationMode"]["Passwords"]
        assert password.startswith("{{resolve:secretsmanager:"), "never in the template"
    (redis,) = platform.of_type("AWS::ElastiCache::ReplicationGroup").values()
    assert redis["TransitEncryptionEnabled"] is True
    (group,) = platform.of_type("AWS::ElastiCache::UserGroup").values()
    assert len(group["UserIds"]) == len(users) == 3


@pytest.fixture
def with_iam() -> Stack:
    given = PARAMETERS | {"RedisAuthentication": "iam"}
    return Stack(EKS / "platform.cfn.yaml", given, all_outputs()[BASE])


@pytest.mark.security
def test_each_role_connects_to_this_redis_as_its_own_user_only(with_iam: Stack) -> None:
    def arn(kind: str, name: str) -> str:
        return f"arn:aws:elasticache:ap-northeast-2:123456789012:{kind}:{name}"

    found = {p["RoleName"]: p for p in with_iam.of_type("AWS::IAM::RolePolicy").values()}
    users = {"OperatorRole": "RedisOperatorUser", "GatewayRole": "RedisGatewayUser"}
    assert found.keys() == users.keys()
    for role_name, user in users.items():
        assert found[role_name]["PolicyDocument"]["Statement"] == [
            {
                "Effect": "Allow",
                "Action": ["elasticache:Connect"],
                "Resource": [arn("replicationgroup", "Redis"), arn("user", user)],
            }
        ]


@pytest.mark.security
def test_users_with_iam_have_an_id_that_is_their_name_and_the_same_permissions(
    with_iam: Stack,
) -> None:
    passwords = Stack(EKS / "platform.cfn.yaml", PARAMETERS, all_outputs()[BASE])
    before, after = (s.of_type("AWS::ElastiCache::User") for s in (passwords, with_iam))

    for name in ("RedisOperatorUser", "RedisGatewayUser"):
        user = after[name]
        assert user["AuthenticationMode"] == {"Type": "iam"}
        assert user["UserId"] == user["UserName"] == user["UserName"].lower()
        assert user["AccessString"] == before[name]["AccessString"]
        assert user["UserId"] != before[name]["UserId"], "CloudFormation replaces it"
        # 40 at most, with the longest of the names that docs/eks.md suggests.
        assert len(user["UserId"].replace("platform", "nanogrid-beta-platform", 1)) <= 40
    assert after["RedisDefaultUser"] == before["RedisDefaultUser"]
    (secret,) = with_iam.of_type("AWS::SecretsManager::Secret")
    assert secret == "RedisDefaultPassword"


def test_the_stack_says_what_the_values_of_each_mode_need() -> None:
    assert redis_outputs("password").keys() == {
        "RedisHost", "RedisPasswordSecret", "GatewayRedisPasswordSecret",
    }  # fmt: skip
    assert redis_outputs("iam").keys() == {
        "RedisHost", "RedisCacheName", "RedisOperatorUser", "RedisGatewayUser",
    }  # fmt: skip


def test_the_values_files_say_which_stack_they_need() -> None:
    assert {stack_of(file) for file in FILLED} == {BASE, PLATFORM, TENANT}
    assert set(MANIFESTS) < {file.name for file in FILLED}


@pytest.mark.parametrize("name", ["cluster-ec2.yaml", "cluster-fargate.yaml"])
def test_a_cluster_has_the_addons_of_its_file_only(name: str) -> None:
    # eksctl adds metrics-server, which would wait for ever: no Fargate profile selects it.
    (cluster,) = documents(EKS / name)
    assert cluster["addonsConfig"] == {"disableDefaultAddons": True}
    assert {"vpc-cni", "kube-proxy", "coredns"} <= {each["name"] for each in cluster["addons"]}
