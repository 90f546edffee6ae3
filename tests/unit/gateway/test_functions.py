"""The Function's CustomResourceDefinition: structural, described, bounded, and append-only."""

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from nanogrid.api.function import Function
from nanogrid.api.function_spec import MAX_VERSIONS
from nanogrid.codegen.crd import function_crd
from support.schemas import is_bounded, nodes

VERSION: dict[str, Any] = function_crd()["spec"]["versions"][0]
SCHEMA: dict[str, Any] = VERSION["schema"]["openAPIV3Schema"]
OURS = [(p, n) for p, n in nodes(SCHEMA) if p.startswith((".spec", ".status"))]


def version(number: int = 1, **changes: Any) -> dict[str, Any]:
    s3 = {"key": f"functions/f/v{number}.zip", "sha256": "a" * 64}
    return {"version": number, "s3": s3, "createdAt": "2025-10-06T06:30:14Z"} | changes


def test_it_is_named_as_people_type_it() -> None:
    assert function_crd()["metadata"]["name"] == "functions.nanogrid.io"
    assert function_crd()["spec"]["names"]["shortNames"] == ["fn"]
    assert function_crd()["spec"]["names"]["categories"] == ["nanogrid"]


def test_kubectl_get_shows_what_people_ask_first() -> None:
    columns = VERSION["additionalPrinterColumns"]

    assert [c["name"] for c in columns if not c.get("priority")] == [
        "NEWEST",
        "RUNS",
        "LAST",
        "RECOMMENDED",
        "AGE",
    ]


@pytest.mark.parametrize(("path", "node"), OURS, ids=[path for path, _ in OURS])
def test_every_field_is_structural_described_and_bounded(path: str, node: dict[str, Any]) -> None:
    forbidden = {"$ref", "anyOf", "oneOf", "allOf", "not", "const", "title", "propertyNames"}
    assert forbidden.isdisjoint(node)
    assert is_bounded(node)
    if not path.endswith(("[]", "{}")):
        assert node["description"].endswith(".")


def test_versions_are_only_added() -> None:
    versions = SCHEMA["properties"]["spec"]["properties"]["versions"]
    rules = [rule["rule"] for rule in versions["x-kubernetes-validations"]]

    assert rules[0] == "oldSelf.all(o, self.exists(n, n == o))"
    assert len(rules) == 2
    assert versions["x-kubernetes-list-map-keys"] == ["version"]
    assert versions["maxItems"] == MAX_VERSIONS


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"versions": []},
        {"versions": [version(0)]},
        {"versions": [version(s3={"key": "x"})]},
        {"versions": [version(n) for n in range(1, MAX_VERSIONS + 2)]},
        {"versions": [version()], "command": []},
    ],
)
def test_a_spec_outside_the_bounds_is_refused(spec: dict[str, Any]) -> None:
    assert not Draft202012Validator(SCHEMA).is_valid({"spec": spec})
    assert Draft202012Validator(SCHEMA).is_valid({"spec": {"versions": [version()]}})


def test_the_newest_version_is_the_one_with_the_highest_number() -> None:
    body = {"metadata": {}, "spec": {"versions": [version(3), version(1), version(2)]}}
    spec = Function.model_validate(body).spec

    assert spec.newest.version == 3
    assert spec.numbered(2) is not None
    assert spec.numbered(4) is None
