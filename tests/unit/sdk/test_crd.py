"""The CustomResourceDefinition is structural, bounded, documented and up to date on disk."""

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from nanogrid.codegen.crd import crd
from nanogrid.types import Json
from support.builders import ROOT, a_job_body
from support.schemas import generated_once, is_bounded, nodes

WHOLE = crd()
VERSION: Json = WHOLE["spec"]["versions"][0]
SCHEMA: Json = VERSION["schema"]["openAPIV3Schema"]
SPEC: Json = SCHEMA["properties"]["spec"]


OURS = [
    (path, node)
    for path, node in nodes(SCHEMA)
    if path.startswith((".spec", ".status"))  # the API server defines the rest
]


GENERATED = generated_once()


@pytest.mark.parametrize("name", GENERATED)
def test_generated_files_are_up_to_date(name: str) -> None:
    on_disk = (ROOT / name).read_text(encoding="utf-8")

    assert on_disk == GENERATED[name], "run `make manifests` and commit the result"


def test_the_resource_has_its_names() -> None:
    assert WHOLE["metadata"]["name"] == "executionjobs.nanogrid.io"
    assert WHOLE["spec"]["names"] == {
        "kind": "ExecutionJob",
        "listKind": "ExecutionJobList",
        "plural": "executionjobs",
        "singular": "executionjob",
        "shortNames": ["ej"],
        "categories": ["nanogrid"],
    }


def test_the_status_is_a_subresource() -> None:
    assert VERSION["subresources"] == {"status": {}}


def test_kubectl_get_has_a_short_and_a_wide_table() -> None:
    columns = VERSION["additionalPrinterColumns"]

    first = [c["name"] for c in columns if not c.get("priority")]
    wide = [c["name"] for c in columns if c.get("priority")]

    assert first == ["PHASE", "REASON", "EXIT", "DURATION", "PEAK", "AGE"]
    assert wide == ["POD", "FILES", "REQUEST", "MEMORY", "START"]


def test_every_column_shows_a_field_that_exists() -> None:
    known = {path for path, _ in nodes(SCHEMA)} | {
        ".metadata.creationTimestamp",
        ".status.result.exitCode",  # the schema does not list the fields of the result
    }

    assert {c["jsonPath"] for c in VERSION["additionalPrinterColumns"]} <= known


def test_every_schema_is_structural() -> None:
    forbidden = {"$ref", "anyOf", "oneOf", "allOf", "not", "const", "title", "propertyNames"}
    types = {"object", "array", "string", "integer", "boolean"}
    for path, node in OURS:
        assert forbidden.isdisjoint(node), path
        assert not isinstance(node.get("additionalProperties"), bool), path
        assert not ("additionalProperties" in node and "properties" in node), path
        assert node.get("default", "") is not None, path
        assert node.get("type") in types or (
            node.get("x-kubernetes-int-or-string") is True and "type" not in node
        ), path


@pytest.mark.parametrize("name", [name for name in GENERATED if name.startswith("crds/")])
def test_no_resource_has_a_pattern_for_the_keys_of_a_map(name: str) -> None:
    assert "patternProperties" not in GENERATED[name], "the API server refuses it"


def test_every_field_is_described_in_a_sentence() -> None:
    for path, node in OURS:
        if not path.endswith(("[]", "{}")):
            text = node.get("description", "")
            assert text.endswith("."), path
            assert text[0].isupper(), path


def test_every_text_list_and_map_is_bounded() -> None:
    assert [path for path, node in OURS if not is_bounded(node)] == []


def test_only_the_result_accepts_unknown_fields() -> None:
    open_ = [path for path, node in OURS if node.get("x-kubernetes-preserve-unknown-fields")]

    assert open_ == [".status.result"]


def test_lists_with_names_are_maps_for_server_side_apply() -> None:
    keys = {p: n["x-kubernetes-list-map-keys"] for p, n in OURS if "x-kubernetes-list-type" in n}

    assert keys == {
        ".spec.env": ["name"],
        ".spec.inputs": ["name"],
        ".status.conditions": ["type"],
        ".status.function.env": ["name"],
    }


def test_cel_rules_check_what_a_schema_cannot() -> None:
    rules = {
        path: [rule["rule"] for rule in node["x-kubernetes-validations"]]
        for path, node in nodes(SCHEMA)
        if "x-kubernetes-validations" in node
    }

    assert rules[""] == ["size(self.metadata.name) <= 52"]
    assert rules[".spec.code"] == ["has(self.inline) != has(self.s3)"]
    assert rules[".spec.inputs[].s3"] == [
        "has(self.key) != has(self.prefix)",
        "!has(self.sha256) || has(self.key)",
        "!has(self.versionId) || has(self.key)",
    ]
    assert rules[".spec.inputs[]"] == ["!has(self.unpack) || !self.unpack || has(self.s3.key)"]
    assert rules[".spec.failurePolicy.rules[]"] == [
        "has(self.onReasons) != has(self.onExitCodes)",
        "(self.action == 'RetryWithMoreMemory') == has(self.memory)",
    ]
    assert rules[".spec.env[]"] == ["!has(self.value) || !has(self.valueFrom)"]
    assert set(rules) == {
        "",
        ".spec",
        ".spec.code",
        ".spec.code.s3.key",
        ".spec.env[]",
        ".spec.env[].name",
        ".spec.failurePolicy.rules[]",
        ".spec.inputs[]",
        ".spec.inputs[].mountPath",
        ".spec.inputs[].s3",
        ".spec.inputs[].s3.key",
        ".spec.inputs[].s3.prefix",
        ".spec.network",
        ".spec.network.cidrs[]",
        ".spec.outputs.exclude[]",
        ".spec.outputs.include[]",
        ".spec.outputs.path",
        ".spec.outputs.s3.prefix",
        ".spec.resources.limits.cpu",
        ".spec.resources.limits.memory",
        ".spec.resources.limits.ephemeral-storage",
        ".spec.resources.requests.cpu",
        ".spec.resources.requests.memory",
        ".spec.resources.requests.ephemeral-storage",
        ".spec.session",
        ".status.function.env[]",
        ".status.function.env[].name",
        ".status.function.network",
        ".status.function.network.cidrs[]",
        ".status.function.outputs.exclude[]",
        ".status.function.outputs.include[]",
        ".status.function.outputs.path",
        ".status.function.outputs.s3.prefix",
        ".status.function.resources.limits.cpu",
        ".status.function.resources.limits.memory",
        ".status.function.resources.limits.ephemeral-storage",
        ".status.function.resources.requests.cpu",
        ".status.function.resources.requests.memory",
        ".status.function.resources.requests.ephemeral-storage",
        ".status.function.s3.key",
    }


CHANGEABLE = {"cancel", "suspend", "ttlSecondsAfterFinished"}
SPEC_RULES = {r["rule"]: r["message"] for r in SPEC["x-kubernetes-validations"]}


def unchanged(field: str) -> str:
    """The rule that makes a field immutable."""
    same = f"self.{field} == oldSelf.{field}"
    if field in SPEC.get("required", []):
        return same
    return f"has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || {same})"


@pytest.mark.parametrize("field", SPEC["properties"])
def test_all_fields_of_the_spec_are_immutable_except_three(field: str) -> None:
    assert (unchanged(field) in SPEC_RULES) == (field not in CHANGEABLE)
    if field not in CHANGEABLE:
        assert SPEC_RULES[unchanged(field)].startswith(f"spec.{field} of a job cannot be changed")


def test_the_spec_has_only_these_other_rules() -> None:
    others = set(SPEC_RULES) - {unchanged(field) for field in SPEC["properties"]}

    assert others == {
        "self.mode == 'Session' || has(self.code) != has(self.functionRef)",
        "!has(self.functionRef) || !has(self.functionId) || "
        "self.functionId == self.functionRef.name",
        "self.mode == 'Session' || !has(self.session)",
        "self.mode == 'Batch' || !(has(self.command) || has(self.args) || has(self.stdin) "
        "|| has(self.functionRef) "
        "|| has(self.failurePolicy) || (has(self.backoffLimit) && self.backoffLimit > 0) "
        "|| (has(self.suspend) && self.suspend))",
        "!has(oldSelf.cancel) || !oldSelf.cancel || (has(self.cancel) && self.cancel)",
        "!has(self.activeDeadlineSeconds) || !has(self.timeouts) || "
        "!has(self.timeouts.executionSeconds) || "
        "self.timeouts.executionSeconds <= self.activeDeadlineSeconds",
    }


def test_every_rule_has_a_message_with_a_fix() -> None:
    rules = [r for _, node in nodes(SCHEMA) for r in node.get("x-kubernetes-validations", [])]

    assert all(len(rule["message"]) > 20 for rule in rules)
    assert not any(rule["message"].endswith(".") for rule in rules)


def wrong_fields(**spec: Any) -> list[str]:
    """Paths of the fields that the schema refuses."""
    body = {"code": {"inline": "pass"}, **spec}
    return [e.json_path for e in Draft202012Validator(SPEC).iter_errors(body)]


def test_the_smallest_job_is_accepted() -> None:
    assert list(Draft202012Validator(SCHEMA).iter_errors(a_job_body())) == []


@pytest.mark.parametrize(
    ("spec", "where"),
    [
        ({"mode": "Dance"}, "$.mode"),
        ({"requestId": "has space"}, "$.requestId"),
        ({"requestId": "x" * 64}, "$.requestId"),
        ({"command": []}, "$.command"),
        ({"args": ["x" * 4097]}, "$.args[0]"),
        ({"code": {"inline": ""}}, "$.code.inline"),
        ({"code": {"inline": "x" * 65_537}}, "$.code.inline"),
        ({"env": [{"name": "1A", "value": ""}]}, "$.env[0].name"),
        ({"timeouts": {"executionSeconds": 0}}, "$.timeouts.executionSeconds"),
        ({"timeouts": {"executionSeconds": 86_401}}, "$.timeouts.executionSeconds"),
        ({"resources": {"limits": {"memory": "lots"}}}, "$.resources.limits.memory"),
        ({"timeouts": {"inputSyncSeconds": 0}}, "$.timeouts.inputSyncSeconds"),
        ({"activeDeadlineSeconds": 0}, "$.activeDeadlineSeconds"),
        ({"activeDeadlineSeconds": 604_801}, "$.activeDeadlineSeconds"),
        ({"terminationGracePeriodSeconds": -1}, "$.terminationGracePeriodSeconds"),
        ({"backoffLimit": 11}, "$.backoffLimit"),
        ({"ttlSecondsAfterFinished": -1}, "$.ttlSecondsAfterFinished"),
        ({"cancel": "yes"}, "$.cancel"),
        ({"suspend": None}, "$.suspend"),
        ({"logs": {"maxBytes": 0}}, "$.logs.maxBytes"),
        ({"outputs": {"uploadPolicy": "Sometimes"}}, "$.outputs.uploadPolicy"),
        ({"outputs": {"maxFiles": 10_001}}, "$.outputs.maxFiles"),
        ({"failurePolicy": {"rules": [{"action": "Dance"}]}}, "$.failurePolicy.rules[0].action"),
        (
            {"failurePolicy": {"rules": [{"onReasons": [], "action": "Count"}]}},
            "$.failurePolicy.rules[0].onReasons",
        ),
        (
            {
                "failurePolicy": {
                    "rules": [{"onExitCodes": {"operator": "In", "values": [0]}, "action": "Count"}]
                }
            },
            "$.failurePolicy.rules[0].onExitCodes.values[0]",
        ),
        (
            {
                "failurePolicy": {
                    "rules": [
                        {
                            "onReasons": ["OOMKilled"],
                            "action": "RetryWithMoreMemory",
                            "memory": {"factor": "0.5", "max": "1Gi"},
                        }
                    ]
                }
            },
            "$.failurePolicy.rules[0].memory.factor",
        ),
        ({"failurePolicy": {"backoff": {"factor": 0}}}, "$.failurePolicy.backoff.factor"),
        ({"inputs": [{"s3": {"key": "a"}}]}, "$.inputs[0]"),
        ({"inputs": [{"name": "UPPER", "s3": {"key": "a"}}]}, "$.inputs[0].name"),
        (
            {"code": {"s3": {"key": "f.zip", "sha256": "XYZ"}}},
            "$.code.s3.sha256",
        ),
    ],
)
def test_a_spec_outside_the_bounds_is_refused_at_its_field(spec: Json, where: str) -> None:
    assert wrong_fields(**spec) == [where]


@pytest.mark.parametrize("memory", ["256Mi", "1.5Gi", "524288Ki", "1G", "128000000", 268435456])
def test_quantities_of_kubernetes_are_accepted(memory: str | int) -> None:
    assert wrong_fields(resources={"limits": {"memory": memory, "cpu": 1}}) == []
