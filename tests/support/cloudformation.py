"""CloudFormation templates as the service reads them: conditions and references resolved."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from nanogrid.types import Json

PSEUDO = {
    "AWS::AccountId": "123456789012",
    "AWS::Partition": "aws",
    "AWS::Region": "ap-northeast-2",
    "AWS::URLSuffix": "amazonaws.com",
}
_DROPPED = object()  # AWS::NoValue


class _Loader(yaml.SafeLoader):
    """Turns the short functions, such as ``!Sub``, into their long form."""


def _function(loader: _Loader, name: str, node: yaml.Node) -> Json:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)  # type: ignore[arg-type]
    if name == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {name if name in ("Ref", "Condition") else f"Fn::{name}": value}


_Loader.add_multi_constructor("!", _function)


def load(path: Path) -> Json:
    """The template with its functions in the long form."""
    found: Json = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    return found


class Stack:
    """A template with parameters: its resources, with every function resolved.

    A resource is its logical id, its attribute ``id.attribute``. An import is the value that
    ``imports`` has for the last part of its name.
    """

    def __init__(self, path: Path, parameters: Mapping[str, Any], imports: Mapping[str, str]):
        self._template = load(path)
        declared = self._template.get("Parameters", {})
        unknown = parameters.keys() - declared.keys()
        assert not unknown, f"{path.name} has no parameter {unknown}"
        self._values: dict[str, Any] = {**PSEUDO, "AWS::StackName": path.name.split(".")[0]}
        for name, declaration in declared.items():
            value = parameters.get(name, declaration.get("Default"))
            assert value is not None, f"{path.name} needs the parameter {name}"
            is_list = declaration["Type"] == "CommaDelimitedList"
            self._values[name] = value.split(",") if is_list else value
        self._imports = imports
        self.resources: dict[str, Json] = {
            name: {"Type": body["Type"], "Properties": self._resolve(body.get("Properties", {}))}
            for name, body in self._template["Resources"].items()
            if self._exists(body)
        }

    @property
    def outputs(self) -> dict[str, Any]:
        """The outputs whose condition holds."""
        declared = self._template["Outputs"].items()
        return {n: self._resolve(body["Value"]) for n, body in declared if self._exists(body)}

    def of_type(self, kind: str) -> dict[str, Json]:
        """The properties of the resources of one type, by logical id."""
        return {n: r["Properties"] for n, r in self.resources.items() if r["Type"] == kind}

    def _exists(self, body: Json) -> bool:
        return "Condition" not in body or self._condition({"Condition": body["Condition"]})

    def _condition(self, test: Json) -> bool:
        ((name, value),) = test.items()
        if name == "Condition":
            return self._condition(self._template["Conditions"][value])
        if name == "Fn::Equals":
            left, right = (self._resolve(each) for each in value)
            return bool(left == right)
        results = [self._condition(each) for each in value]
        return {"Fn::Not": not results[0], "Fn::And": all(results), "Fn::Or": any(results)}[name]

    def _resolve(self, value: Any) -> Any:
        if isinstance(value, list):
            return [r for r in (self._resolve(each) for each in value) if r is not _DROPPED]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((name, argument),) = value.items()
            if name == "Ref" or name.startswith("Fn::"):
                return self._call(name, argument)
        resolved = {key: self._resolve(each) for key, each in value.items()}
        return {key: each for key, each in resolved.items() if each is not _DROPPED}

    def _call(self, name: str, argument: Any) -> Any:
        match name:
            case "Ref" if argument == "AWS::NoValue":
                return _DROPPED
            case "Ref":
                return self._values.get(argument, argument)
            case "Fn::GetAtt":
                return ".".join(argument)
            case "Fn::Sub":
                return self._substitute(argument)
            case "Fn::ImportValue":
                return self._imports[self._resolve(argument).rpartition(":")[2]]
            case "Fn::If":
                condition, yes, no = argument
                return self._resolve(yes if self._condition({"Condition": condition}) else no)
            case "Fn::Select":
                index, values = argument
                return self._resolve(values)[int(index)]
            case "Fn::GetAZs":
                return ["zone-a", "zone-b"]
        raise AssertionError(f"{name} is not known here")

    def _substitute(self, argument: Any) -> str:
        text, more = (argument, {}) if isinstance(argument, str) else argument
        values = self._values | {key: self._resolve(value) for key, value in more.items()}
        return re.sub(r"\$\{([\w:.]+)\}", lambda m: str(values.get(m[1], m[1])), text)
