"""docs/eks.md: the steps use every file, and whoever follows them types each value once."""

import re
import subprocess
from pathlib import Path

from support.cloudformation import load
from support.doc_blocks import all_blocks
from support.eks_network import EKS

PAGE = Path("docs/eks.md")
TEXT = PAGE.read_text(encoding="utf-8")
# A block without a language is a query, not a command.
BLOCKS = [block.text for block in all_blocks(PAGE) if block.language]
COMMANDS = "\n".join(BLOCKS)
MOST_VALUES = 8


def table(title: str) -> list[list[str]]:
    """The rows of the first table below a heading, without its head."""
    section = TEXT.split(f"\n## {title}\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


def test_a_team_sets_eight_values_at_most_and_each_once() -> None:
    values = table("What you set")

    assert 0 < len(values) <= MOST_VALUES
    for _, where, _ in values:
        for name in re.findall(r"`([A-Z_]+)`", where):
            assert len(re.findall(rf"\b{name}=", COMMANDS)) == 1, name


def test_every_other_value_of_the_commands_comes_from_a_command() -> None:
    typed = {
        name for _, where, _ in table("What you set") for name in re.findall(r"`(\w+)`", where)
    }
    assigned = dict(re.findall(r"(?:^|[ (])([A-Z_]+)=(\S*)", COMMANDS, re.M))

    for name, value in assigned.items():
        assert name in typed or "$" in value or name == "FILE", name


def test_the_commands_are_shell_and_have_no_placeholder() -> None:
    for block in BLOCKS:
        done = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "…" not in block


def test_every_parameter_without_a_default_is_given() -> None:
    for file in sorted(EKS.glob("*.cfn.yaml")):
        (command,) = re.findall(rf"stack \S+ {file.name}((?:.*\\\n)*.*)", COMMANDS)
        declared = load(file)["Parameters"]
        given = set(re.findall(r"(?:^| )([A-Z]\w*)=", command, re.M))
        assert (
            {n for n, body in declared.items() if "Default" not in body} <= given <= set(declared)
        )


def test_the_steps_use_every_file() -> None:
    for file in EKS.iterdir():
        mode = re.sub(r"-(fargate|ec2)\.yaml", "-$(echo", file.name)
        used = re.sub(r"-(password|iam)\.yaml", "-$REDIS.yaml", mode)
        assert used in COMMANDS, file.name
        assert f"`{file.name}`" in TEXT


def test_what_is_used_in_a_step_was_made_in_an_earlier_one() -> None:
    order = [
        "stack nanogrid base.cfn.yaml", "docker push", "acm request-certificate",
        "eksctl create cluster", "stack nanogrid-platform", "tenant.cfn.yaml", "FILE=system.yaml",
        "FILE=namespace.yaml", "create secret generic redis-auth ", "install aws-load-balancer-co",
        "install nanogrid helm", "examples/hello.yaml",
    ]  # fmt: skip
    places = [COMMANDS.index(one) for one in order]

    assert places == sorted(places)
    for name in re.findall(r'"\$(?:\{)?([A-Z_]+)', COMMANDS):
        first_use, made = (
            COMMANDS.index(f"${name}") if f"${name}" in COMMANDS else 10**9,
            re.search(rf"\b{name}=", COMMANDS),
        )
        assert made is not None, name
        assert made.start() < first_use, name


def test_the_controllers_do_without_what_a_private_network_lacks() -> None:
    controller = (EKS / "load-balancer-controller.yaml").read_text()
    autoscaler = (EKS / "cluster-autoscaler.yaml").read_text()

    for switch in ("enableShield", "enableWaf", "enableWafv2"):
        assert re.search(rf"^{switch}: false$", controller, re.M), switch
    for name in ("clusterName: ${ClusterName}", "region: ${Region}", "vpcId: ${Vpc}"):
        assert name in controller
    assert 'aws-use-static-instance-list: "true"' in autoscaler
    for text in (controller, autoscaler):
        assert "repository: ${Images}/" in text, "no endpoint leads to a public registry"
