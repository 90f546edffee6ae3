"""The command that fills in a file of examples/eks with the outputs of a stack."""

import json
import subprocess
import sys

import pytest

from nanogrid.types import Json
from scripts.eks import FillError, fill


def command(file: str, stdin: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "scripts/eks.py", *([file] if file else [])],
        input=stdin, capture_output=True, text=True,
    )  # fmt: skip


def stacks(*found: Json) -> str:
    return json.dumps({"Stacks": list(found)})


DONE = {"StackName": "s", "StackStatus": "CREATE_COMPLETE", "Outputs": []}


@pytest.mark.parametrize(
    ("file", "stdin", "words"),
    [
        ("", stacks(DONE), "set FILE to one of: cluster-autoscaler.yaml"),
        ("../../README.md", stacks(DONE), "set FILE to one of"),
        ("base.cfn.yaml", stacks(DONE), "set FILE to one of"),
        ("namespace.yaml", "", "stdin is not the JSON"),
        ("namespace.yaml", "[]", "stdin is not the JSON"),
        ("namespace.yaml", stacks(DONE, DONE), "choose one with --stack-name"),
        ("namespace.yaml", stacks(DONE), "no output Namespace, SandboxRoleArn"),
        ("namespace.yaml", stacks(DONE | {"StackStatus": "ROLLBACK_COMPLETE"}),
         "the stack s is ROLLBACK_COMPLETE"),
    ],
)  # fmt: skip
def test_the_command_says_what_is_wrong(file: str, stdin: str, words: str) -> None:
    done = command(file, stdin)

    assert done.returncode == 1
    assert words in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("value", ["", "a: b", 'x"', "a\nb", "{a}", "*a", "#"])
def test_an_output_cannot_change_the_yaml_around_it(value: str) -> None:
    with pytest.raises(FillError, match="no plain value"):
        fill("a: ${A}", {"A": value})
    assert fill("a: ${A}", {"A": "arn:aws:iam::1:role/x"}) == "a: arn:aws:iam::1:role/x"
