"""The commands of docs/eks.md, run in order, with programs that record what they get.

`make`, the shell and scripts/eks.py are real. `aws` answers with the stacks that moto has made.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from nanogrid.types import Json
from support.aws_stacks import BASE, PLATFORM, all_outputs, redis_outputs, snapshot
from support.cloudformation import load
from support.doc_blocks import all_blocks
from support.eks_network import EKS, PARAMETERS

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
RECORDER = f"""#!{sys.executable}
import json, os, sys
from pathlib import Path

world = Path(os.environ["WORLD"])
name, arguments = Path(sys.argv[0]).name, sys.argv[1:]
if name == "python3" and arguments[0] != "scripts/images.py":
    os.execv({sys.executable!r}, ["python3", *arguments])
answers = json.loads((world / "answers.json").read_text())
answer = next((a for words, a in answers if set(words) <= {{name, *arguments}}), "")
reads = name in ("kubectl", "docker") and {{"-", "--password-stdin"}} & set(arguments)
values = [arguments[n + 1] for n, a in enumerate(arguments) if a == "-f"]
text = sys.stdin.read() if reads else ""
if name in ("helm", "eksctl"):
    text = "---\\n".join(Path(each).read_text() for each in values)
with (world / "calls.jsonl").open("a") as file:
    print(json.dumps([name, arguments, text]), file=file)
print(answer)
"""
ISSUER = "https://" + PARAMETERS["OidcProvider"]


SECRETS = ("RedisPasswordSecret", "GatewayRedisPasswordSecret")


def with_outputs(text: str, given: dict[str, str]) -> str:
    """The description of a stack that made its Redis; moto cannot make one."""
    found = json.loads(text)
    found["Stacks"][0]["Outputs"] += [
        {"OutputKey": key, "OutputValue": value} for key, value in given.items()
    ]
    return json.dumps(found)


def run(
    folder: Path, sandboxes: str, redis: str = "password", new_redis: bool = True
) -> list[tuple[str, list[str], str]]:
    """Each program that the commands started, with its arguments and what it read."""
    stacks = dict(snapshot(sandboxes).stacks)
    if new_redis:
        made = {key: f"arn:{key}" for key in SECRETS}
        given = made if redis == "password" else redis_outputs(redis)
        stacks[PLATFORM] = with_outputs(stacks[PLATFORM], given)
    answers = [
        *((["describe-stacks", name], text) for name, text in stacks.items()),
        (["cluster.identity.oidc.issuer"], ISSUER),
        (["cluster.resourcesVpcConfig.clusterSecurityGroupId"], "sg-cluster"),
        (["describe-managed-prefix-lists"], "pl-0123"),
        (["request-certificate"], PARAMETERS["CertificateArn"]),
        *((["get-secret-value", f"arn:{key}"], f"password of {key}") for key in SECRETS),
        (["helm", "values"], "image:\n  repository: example.com/images/controller\n  tag: v3.5.0"),
        (["helm", "chart"], "appVersion: 0.1.0"),
    ]
    (folder / "answers.json").write_text(json.dumps(answers))
    programs = folder / "bin"
    programs.mkdir()
    for name in ("aws", "docker", "eksctl", "helm", "kubectl", "python3"):
        (programs / name).write_text(RECORDER)
        (programs / name).chmod(0o755)
    work = folder / "checkout"
    (work / "build").mkdir(parents=True)
    images = {part: f"nanogrid-{part}:1" for part in ("operator", "executor", "gateway")}
    (work / "build/images.json").write_text(json.dumps(images))
    for name in ("Makefile", "scripts", "examples", "helm"):
        (work / name).symlink_to(Path(name).resolve())
    commands = (b for b in all_blocks(Path("docs/eks.md")) if b.language == "bash")
    script = "\n".join(block.text for block in commands)
    script = script.replace("SANDBOXES=Fargate", f"SANDBOXES={sandboxes}")
    script = script.replace("REDIS=password", f"REDIS={redis}")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=work, capture_output=True, text=True, timeout=240,
        env=os.environ | {"PATH": f"{programs}:{os.environ['PATH']}", "WORLD": str(folder)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = (folder / "calls.jsonl").read_text().splitlines()
    return [tuple(json.loads(line)) for line in lines]  # type: ignore[misc]


@pytest.fixture(scope="module", params=["Fargate", "EC2"])
def calls(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Json:
    folder = tmp_path_factory.mktemp(request.param)
    return {"sandboxes": request.param, "calls": run(folder, request.param)}


def test_the_stacks_get_the_parameters_of_the_cluster(calls: Json) -> None:
    given = {}
    for name, arguments, _ in calls["calls"]:
        if name == "aws" and arguments[:2] == ["cloudformation", "deploy"]:
            file = Path(arguments[arguments.index("--template-file") + 1])
            overrides = arguments[arguments.index("--parameter-overrides") + 1 :]
            given[file.name] = dict(each.split("=", 1) for each in overrides)
            assert given[file.name].keys() <= load(EKS / file.name)["Parameters"].keys()

    sandboxes = calls["sandboxes"]
    assert given["base.cfn.yaml"] == {"Ec2Nodes": str(sandboxes == "EC2").lower()}
    wanted = PARAMETERS | {
        "Sandboxes": sandboxes,
        "GatewayNamespace": "jobs-analytics",
        "RedisAuthentication": "password",
    }
    assert given["platform.cfn.yaml"] == wanted
    assert given["tenant.cfn.yaml"] == {"Namespace": "jobs-analytics"}


def test_the_cluster_gets_what_is_filled_in_and_in_this_order(calls: Json) -> None:
    applied: list[tuple[str, str]] = []
    passwords: list[str] = []
    for name, arguments, text in calls["calls"]:
        assert "${" not in text
        if name == "kubectl" and "apply" in arguments and text:
            applied += [(d["kind"], d["metadata"]["name"]) for d in yaml.safe_load_all(text)]
        elif name == "kubectl" and "create" in arguments:
            passwords.append(arguments[-1].removeprefix("--from-literal=password="))
            applied.append(("Secret", arguments[3]))
        elif name == "helm" and "upgrade" in arguments:
            assert all(yaml.safe_load_all(text))
            applied.append(("Release", arguments[2]))

    assert passwords == [f"password of {key}" for key in SECRETS]
    fargate = calls["sandboxes"] == "Fargate"
    assert applied == [
        ("Namespace", "nanogrid-system"),
        ("SecurityGroupPolicy", "nanogrid-operator"),
        ("SecurityGroupPolicy", "nanogrid-gateway"),
        ("Namespace", "jobs-analytics"),
        ("ServiceAccount", "nanogrid-sandbox"),
        *([("Namespace", "aws-observability"), ("ConfigMap", "aws-logging"),
           ("SecurityGroupPolicy", "nanogrid-sandbox")] if fargate else []),
        ("Secret", "redis-auth"),
        ("Secret", "redis-auth-gateway"),
        ("Release", "aws-load-balancer-controller"),
        *([] if fargate else [("Release", "cluster-autoscaler")]),
        ("Release", "nanogrid"),
    ]  # fmt: skip


def test_no_secret_is_made_of_passwords_that_the_stack_does_not_have(tmp_path: Path) -> None:
    # With RedisHost. A Secret with an empty password would fail later, in the operator's log.
    calls = run(tmp_path, "Fargate", new_redis=False)
    assert [a for name, a, _ in calls if name == "helm" and "nanogrid" in a]
    assert not [a for name, a, _ in calls if name == "kubectl" and "secret" in a]


def test_with_iam_there_is_no_secret_and_the_release_has_the_users_of_the_stack(
    tmp_path: Path,
) -> None:
    calls = run(tmp_path, "Fargate", redis="iam")
    outputs = redis_outputs("iam")

    assert not [a for name, a, _ in calls if name == "kubectl" and "secret" in a]
    assert not [a for name, a, _ in calls if name == "aws" and "secretsmanager" in a]
    (text,) = [t for name, a, t in calls if name == "helm" and "nanogrid" in a and "upgrade" in a]
    _, values = yaml.safe_load_all(text)
    assert values["redis"]["iam"]["cacheName"] == outputs["RedisCacheName"]
    assert values["redis"]["url"].startswith(f"rediss://{outputs['RedisOperatorUser']}@")
    assert values["gateway"]["redis"] == {"username": outputs["RedisGatewayUser"]}
    (parameters,) = [a for name, a, _ in calls if name == "aws" and "RedisAuthentication=iam" in a]
    assert "nanogrid-platform" in parameters


def test_the_cluster_is_made_in_the_network_of_the_stack(calls: Json) -> None:
    ((_, _, text),) = [call for call in calls["calls"] if call[0] == "eksctl"]
    cluster = yaml.safe_load(text)

    assert cluster["vpc"]["id"].startswith("vpc-")
    assert ("managedNodeGroups" in cluster) is (calls["sandboxes"] == "EC2")


def test_all_images_go_to_repositories_of_the_stack(calls: Json) -> None:
    pushed = [
        arguments[1] for name, arguments, _ in calls["calls"]
        if name == "docker" and arguments[0] == "push"
    ]  # fmt: skip
    controllers = ["load-balancer-controller:v3.5.0"]
    if calls["sandboxes"] == "EC2":
        controllers.append("cluster-autoscaler:v3.5.0")
    registry = all_outputs()[BASE]["Images"]
    ours = [f"{part}:0.1.0" for part in ("operator", "executor", "gateway")]
    assert pushed == [f"{registry}/{image}" for image in ours + controllers]
    repositories = {
        resource["Properties"]["RepositoryName"]["Fn::Sub"].removeprefix("${AWS::StackName}/")
        for resource in load(EKS / "base.cfn.yaml")["Resources"].values()
        if resource["Type"] == "AWS::ECR::Repository"
    }
    assert {image.split(":")[0] for image in ours + controllers} <= repositories
