"""The CustomResourceDefinition of NanoGridTenant: named after a namespace, bounded, documented."""

import pytest
from pydantic import ValidationError

from nanogrid.api.tenant import TenantSpec
from nanogrid.codegen.crd import tenant_crd
from nanogrid.types import Json
from support.schemas import is_bounded, nodes

WHOLE = tenant_crd()
VERSION: Json = WHOLE["spec"]["versions"][0]
SCHEMA: Json = VERSION["schema"]["openAPIV3Schema"]
OURS = [(path, node) for path, node in nodes(SCHEMA) if path.startswith(".spec")]


def test_it_is_namespaced_and_kubectl_knows_its_short_name() -> None:
    assert WHOLE["metadata"]["name"] == "nanogridtenants.nanogrid.io"
    assert WHOLE["spec"]["scope"] == "Namespaced"
    assert WHOLE["spec"]["names"]["shortNames"] == ["ngt"]
    assert "status" not in SCHEMA["properties"]
    assert "subresources" not in VERSION


def test_the_name_is_that_of_a_namespace() -> None:
    (rule,) = SCHEMA["x-kubernetes-validations"]

    assert rule["rule"].startswith("size(self.metadata.name) <= 63 && ")


def test_kubectl_get_shows_what_a_namespace_has() -> None:
    columns = {c["name"]: c["jsonPath"] for c in VERSION["additionalPrinterColumns"]}

    assert list(columns) == ["ROOT", "BUCKET", "JOBS", "WEIGHT", "AGE", "EGRESS"]
    known = {path for path, _ in nodes(SCHEMA)} | {".metadata.creationTimestamp"}
    assert set(columns.values()) <= known


def test_every_field_is_bounded_and_described() -> None:
    assert [path for path, node in OURS if not is_bounded(node)] == []
    for path, node in OURS:
        if not path.endswith("[]"):
            assert node["description"].endswith("."), path


def test_every_rule_says_how_to_correct_the_value() -> None:
    rules = {p: n["x-kubernetes-validations"] for p, n in OURS if "x-kubernetes-validations" in n}

    assert set(rules) == {
        ".spec.root",
        ".spec.allow.images[]",
        ".spec.allow.priorityClasses[]",
        ".spec.allow.targetGroupARNs[]",
        ".spec.allow.buckets[].prefix",
        ".spec.network.cidrs[]",
        ".spec.limits.cpu",
        ".spec.limits.memory",
    }
    assert all(": " in rule["message"] or ", for" in rule["message"]
               for found in rules.values() for rule in found)  # fmt: skip


@pytest.mark.parametrize(
    "spec",
    [
        {"colour": "red"},
        {"weight": 0},
        {"allow": {"secrets": ["Upper"]}},
        {"network": {"egress": "All"}},
        {"network": {"cidrs": ["10.0.0.0"]}},
        {"limits": {"jobs": 0}},
    ],
)
def test_wrong_specs(spec: Json) -> None:
    with pytest.raises(ValidationError):
        TenantSpec.model_validate(spec)
