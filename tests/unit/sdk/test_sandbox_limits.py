"""Every surface refuses the same amounts of CPU and memory, and accepts the same."""

import re
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel, ValidationError

from nanogrid.api.function_spec import FunctionSpec
from nanogrid.api.job import Spec
from nanogrid.api.tenant import TenantSpec
from nanogrid.client import InvalidRequest
from nanogrid.client.jobs.manifest import build_job
from nanogrid.codegen.crd import chart_checks, crd, function_crd, pool_crd, tenant_crd
from nanogrid.quantity import quantity
from nanogrid.rightsizing import recommended_limit
from nanogrid.sandbox_limits import (
    CHART_VALUES,
    CPU,
    IN_BYTES,
    LEAST_CPU,
    LEAST_MEMORY_MIB,
    LIMITS,
    MEMORY,
    REQUESTS,
    cel_rules,
    outside,
    problem,
)
from nanogrid.sizes import MIB, size_text
from nanogrid.types import Json
from support.schemas import nodes

LEAST = f"{LEAST_MEMORY_MIB}Mi"
GOOD = {
    MEMORY: [LEAST, "256Mi", "1.5Gi", ".5Gi", "1e9", "512M", "1Pi", 268435456, "134217728"],
    CPU: [LEAST_CPU, "0.5", ".5", "1e-1", "500m", "20000000n", "1k", 1, "64"],
}
BAD = {
    MEMORY: [
        0, "0", "00", "0Mi", "0.0", "0e9", -1, 1, "512", "2Mi", "15.99Mi", "1.1Pi", "1E", "1e99",
        "9" * 32,
    ],
    CPU: [0, "0", "0m", "0.0", -1, "1m", "9m", "0.009", "100u", "100n", "1Mi", "11k", "1e9"],
}  # fmt: skip
FRACTIONS = ["300m", "512m", "256m", "1m", "5u", "100n", "268435456000m"]
NO_QUANTITIES = ["", "lots", "1 Gi", "256mb", "256MB", "1MiB", "1g", "٣Mi", "NaN", "--1", "1Gi1"]


def amounts(table: dict[str, list[Any]]) -> list[tuple[str, Any]]:
    return [(name, amount) for name, rows in table.items() for amount in rows]


def resources(name: str, amount: Any, kind: str = "limits") -> Json:
    return {"resources": {kind: {name: amount}}}


def function(name: str, amount: Any) -> Json:
    version = {
        "version": 1,
        "s3": {"key": "f.zip", "sha256": "a" * 64},
        "createdAt": "2026-01-01T00:00:00Z",
    }
    return {"versions": [version], **resources(name, amount)}


def job(name: str, amount: Any) -> Json:
    return {"code": {"inline": "x"}, **resources(name, amount)}


def session(name: str, amount: Any) -> Json:
    return {"mode": "Session", **resources(name, amount)}


def tenant(name: str, amount: Any) -> Json:
    return {"limits": {name: amount}}


def surfaces(name: str, amount: Any) -> list[tuple[type[BaseModel], Json]]:
    """The specs in which a user can write the amount."""
    return [
        (Spec, job(name, amount)),
        (Spec, session(name, amount)),
        (FunctionSpec, function(name, amount)),
        (TenantSpec, tenant(name, amount)),
    ]


@pytest.mark.parametrize(("name", "amount"), amounts(GOOD))
def test_amounts_within_the_bounds_are_accepted_everywhere(name: str, amount: Any) -> None:
    assert problem(amount, LIMITS[name]) == ""
    for model, spec in surfaces(name, amount):
        model.model_validate(spec)
    assert build_job("x", spec=resources(name, amount))


@pytest.mark.security
@pytest.mark.parametrize(("name", "amount"), amounts(BAD))
def test_amounts_outside_of_the_bounds_are_refused_everywhere(name: str, amount: Any) -> None:
    wanted = problem(amount, LIMITS[name])

    assert wanted
    for model, spec in surfaces(name, amount):
        with pytest.raises(ValidationError, match=re.escape(wanted)):
            model.model_validate(spec)
    with pytest.raises(InvalidRequest, match=re.escape(wanted)):
        build_job(
            "x",
            **({name: amount} if isinstance(amount, str) else {"spec": resources(name, amount)}),
        )


@pytest.mark.parametrize("amount", FRACTIONS)
@pytest.mark.parametrize("kind", ["limits", "requests"])
def test_fractions_of_a_byte_are_refused_with_the_unit_that_was_meant(
    amount: str, kind: str
) -> None:
    spec = {"code": {"inline": "x"}, **resources(MEMORY, amount, kind)}

    with pytest.raises(ValidationError, match="example 256Mi instead of 256m"):
        Spec.model_validate(spec)


@pytest.mark.parametrize("text", NO_QUANTITIES)
@pytest.mark.parametrize("name", [CPU, MEMORY])
def test_text_that_is_no_quantity_is_refused_by_schema_and_model(name: str, text: str) -> None:
    schema = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]

    errors = [e.json_path for e in Draft202012Validator(schema).iter_errors(job(name, text))]

    assert errors == [f"$.resources.limits.{name}"]
    with pytest.raises(ValidationError, match="is not a quantity such as 256Mi or 500m"):
        Spec.model_validate(job(name, text))


@pytest.mark.parametrize(("name", "amount"), [(CPU, 0), (CPU, "100u"), (MEMORY, "0"), (MEMORY, 1)])
def test_requests_of_nothing_are_refused(name: str, amount: Any) -> None:
    with pytest.raises(ValidationError, match=re.escape(outside(REQUESTS[name]))):
        Spec.model_validate({"code": {"inline": "x"}, **resources(name, amount, "requests")})


@pytest.mark.parametrize("amount", ["2Mi", 5, "0", "300m", "1.1Pi"])
def test_growing_memory_has_the_same_bounds(amount: str | int) -> None:
    rule = {"action": "RetryWithMoreMemory", "onReasons": ["OOMKilled"], "memory": {"max": amount}}
    spec = {"code": {"inline": "x"}, "failurePolicy": {"rules": [rule]}}

    with pytest.raises(ValidationError):
        Spec.model_validate(spec)


@pytest.mark.parametrize("make", [crd, function_crd, pool_crd, tenant_crd])
def test_every_quantity_of_a_resource_has_the_rules_of_its_bounds(make: Any) -> None:
    schema = make()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    found = [
        (path, [rule["rule"] for rule in node.get("x-kubernetes-validations", [])])
        for path, node in nodes(schema)
        if node.get("x-kubernetes-int-or-string") and not path.endswith("memory.max")
    ]

    assert found
    for path, rules in found:
        table = REQUESTS if ".requests." in path else LIMITS
        assert rules == [rule for rule, _ in cel_rules(table[path.rpartition(".")[2]])], path


def test_the_chart_checks_each_value_with_the_same_bounds() -> None:
    template = chart_checks()

    for path, bounds in CHART_VALUES.items():
        assert f'"name" "{path}" "least" "{quantity(bounds.least)}"' in template
    assert template.count(IN_BYTES) == sum(b.what != CPU for b in CHART_VALUES.values())


@pytest.mark.parametrize("peak", [0, 1, MIB, 12 * MIB])
def test_no_advice_is_below_the_smallest_limit(peak: int) -> None:
    assert problem(size_text(recommended_limit(peak)), LIMITS[MEMORY]) == ""
