"""The CRD of ExecutionPool: bounded, documented, and as strict as its models."""

from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from nanogrid import names
from nanogrid.api.pool import ExecutionPool, PoolSpec, PoolStatus
from nanogrid.codegen.crd import pool_crd
from nanogrid.types import Json
from support.schemas import is_bounded, nodes

WHOLE = pool_crd()
VERSION: Json = WHOLE["spec"]["versions"][0]
SCHEMA: Json = VERSION["schema"]["openAPIV3Schema"]
SPEC: Json = SCHEMA["properties"]["spec"]
OURS = [(path, node) for path, node in nodes(SCHEMA) if path.startswith((".spec", ".status"))]


def test_the_resource_has_its_names_and_a_status() -> None:
    assert WHOLE["metadata"]["name"] == "executionpools.nanogrid.io"
    assert WHOLE["spec"]["scope"] == "Namespaced"
    assert WHOLE["spec"]["names"]["shortNames"] == ["epool"]
    assert VERSION["subresources"] == {"status": {}}


def test_a_name_leaves_room_for_the_names_of_pods() -> None:
    (rule,) = SCHEMA["x-kubernetes-validations"]

    assert rule["rule"].startswith(f"size(self.metadata.name) <= {names.POOL_NAME_MAX} && ")
    assert len(names.pool_pod("p" * names.POOL_NAME_MAX, "0" * 8)) <= 63


def test_kubectl_get_shows_the_state_of_a_pool() -> None:
    columns = VERSION["additionalPrinterColumns"]

    assert [c["name"] for c in columns if not c.get("priority")] == [
        "READY", "TARGET", "STARTING", "CLAIMED", "CLAIMS", "MISSES", "P50", "AGE",
    ]  # fmt: skip
    assert [c["name"] for c in columns if c.get("priority")] == ["IMAGE"]
    known = {path for path, _ in nodes(SCHEMA)} | {".metadata.creationTimestamp"}
    assert {c["jsonPath"] for c in columns} <= known


def test_every_field_is_bounded_and_described() -> None:
    assert [path for path, node in OURS if not is_bounded(node)] == []
    for path, node in OURS:
        if not path.endswith(("[]", "{}")):
            assert node["description"].endswith("."), path


def test_only_the_affinity_accepts_unknown_fields() -> None:
    open_ = [path for path, node in OURS if node.get("x-kubernetes-preserve-unknown-fields")]

    assert open_ == [".spec.affinity"]


def test_rules_check_what_a_schema_cannot() -> None:
    rules = {p: n["x-kubernetes-validations"] for p, n in OURS if "x-kubernetes-validations" in n}

    assert [rule["rule"] for rule in rules[".spec"]] == [
        "!has(self.minReady) || !has(self.maxReady) || self.minReady <= self.maxReady",
        "has(self.controllerClass) == has(oldSelf.controllerClass) && "
        "(!has(self.controllerClass) || self.controllerClass == oldSelf.controllerClass)",
        "self.mode != 'Session' || !has(self.preload) || size(self.preload) == 0",
    ]
    assert [rule["rule"] for rule in rules[".spec.jobSelector.matchExpressions[]"]] == [
        "(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)"
    ]


WRONG: list[Json] = [
    {"minReady": -1},
    {"minReady": 1001},
    {"maxReady": 1001},
    {"maxAgeSeconds": 59},
    {"maxAgeSeconds": 604_801},
    {"preload": [f"m{n}" for n in range(17)]},
    {"preload": ["pandas; import os"]},
    {"preload": ["os."]},
    {"preload": ["--preload"]},
    {"nodeSelector": {"zone": "with space"}},
    {"tolerations": [{"operator": "Maybe"}]},
    {"jobSelector": {"matchExpressions": [{"key": "a", "operator": "Gt"}]}},
    {"jobSelector": {"matchLabels": {"a": 1}}},
    {"controllerClass": "Upper"},
]


@pytest.mark.parametrize("spec", WRONG)
def test_a_wrong_spec_is_refused_by_schema_and_model(spec: Json) -> None:
    assert list(Draft202012Validator(SPEC).iter_errors(spec))
    with pytest.raises(ValidationError):
        PoolSpec.model_validate(spec)


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(ValidationError, match="colour"):
        PoolSpec.model_validate({"colour": "red"})


WIDE: dict[str, Any] = {
    "minReady": 2,
    "maxReady": 20,
    "runtime": {"image": "registry.example/python-data:1", "runtimeClassName": "gvisor"},
    "resources": {"limits": {"cpu": "1", "memory": "512Mi"}},
    "nodeSelector": {"kubernetes.io/arch": "amd64"},
    "tolerations": [{"key": "sandbox", "operator": "Exists", "effect": "NoSchedule"}],
    "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
    "jobSelector": {"matchLabels": {"team": "data"}},
    "preload": ["pandas", "matplotlib.pyplot"],
}


@pytest.mark.parametrize("spec", [{}, WIDE])
def test_a_pool_is_accepted_and_keeps_what_was_written(spec: Json) -> None:
    body = {"apiVersion": names.API_VERSION, "kind": names.POOL_KIND, "metadata": {"name": "data"}}

    assert list(Draft202012Validator(SCHEMA).iter_errors(body | {"spec": spec})) == []
    pool = ExecutionPool.model_validate(body | {"spec": spec})
    assert pool.spec.model_dump(by_alias=True, exclude_unset=True) == spec


def test_the_status_has_the_names_of_the_columns() -> None:
    status = PoolStatus(ready=3, claim_p50_millis=41)

    assert status.model_dump(by_alias=True, exclude_defaults=True) == {
        "ready": 3,
        "claimP50Millis": 41,
    }
