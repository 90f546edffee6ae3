"""Fill in a file of examples/eks with the outputs of a CloudFormation stack.

``aws cloudformation describe-stacks --stack-name NAME | make -s eks-values FILE=system.yaml``

A name in braces after a dollar sign, as in ``${Region}``, is replaced by the output with this name,
so that it need not be copied by hand. Standard library only: it runs before ``make setup``.
"""

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path

FILES = Path(__file__).resolve().parent.parent / "examples" / "eks"
PLACEHOLDER = re.compile(r"\$\{(\w+)\}")
# Outputs are ids, names, networks and ARNs. Anything else could change the YAML around it.
VALUE = re.compile(r"[A-Za-z0-9/][A-Za-z0-9._:/@-]*")
COMPLETE = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE")


class FillError(Exception):
    """The file cannot be filled in; the message says why and what to do."""


def outputs(text: str) -> dict[str, str]:
    """The outputs of the one stack in the JSON of ``aws cloudformation describe-stacks``.

    Raises:
        FillError: The text is something else, or the stack is not complete.
    """
    try:
        stacks = json.loads(text)["Stacks"]
    except (ValueError, KeyError, TypeError):
        raise FillError(
            "stdin is not the JSON of `aws cloudformation describe-stacks`: pipe its output into "
            "this command, with --output json"
        ) from None
    if len(stacks) != 1:
        raise FillError(f"stdin has {len(stacks)} stacks: choose one with --stack-name")
    (stack,) = stacks
    if stack["StackStatus"] not in COMPLETE:
        raise FillError(
            f"the stack {stack['StackName']} is {stack['StackStatus']}: deploy it, and repeat"
        )
    return {each["OutputKey"]: each["OutputValue"] for each in stack.get("Outputs", [])}


def fill(template: str, values: Mapping[str, str]) -> str:
    """The template with its placeholders replaced.

    Raises:
        FillError: An output is missing, or is no plain value.
    """
    missing = sorted(set(PLACEHOLDER.findall(template)) - values.keys())
    if missing:
        raise FillError(
            f"the stack has no output {', '.join(missing)}: "
            "the first lines of the file name its stack"
        )

    def value(match: re.Match[str]) -> str:
        found = values[match[1]]
        if not VALUE.fullmatch(found):
            raise FillError(f"the output {match[1]} is no plain value: {found!r}")
        return found

    return PLACEHOLDER.sub(value, template)


def main(arguments: list[str]) -> None:
    """Print the file that the argument names."""
    names = sorted(path.name for path in FILES.glob("*.yaml") if not path.match("*.cfn.yaml"))
    if len(arguments) != 1 or arguments[0] not in names:
        sys.exit(f"eks-values: set FILE to one of: {', '.join(names)}")
    template = (FILES / arguments[0]).read_text(encoding="utf-8")
    try:
        print(fill(template, outputs(sys.stdin.read())), end="")
    except FillError as problem:
        sys.exit(f"eks-values: {arguments[0]}: {problem}")


if __name__ == "__main__":
    main(sys.argv[1:])
