"""A default never contradicts what the user wrote in another field."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanogrid.api.inputs_outputs import Outputs
from nanogrid.api.job import Spec
from nanogrid.api.network import Network
from nanogrid.api.pool import PoolSpec
from nanogrid.api.runtime import Backoff
from nanogrid.api.session import SessionSpec
from nanogrid.codegen.crd import crd, function_crd, pool_crd, tenant_crd
from nanogrid.types import Json
from support.schemas import nodes

KINDS = (crd, function_crd, pool_crd, tenant_crd)
# Two fields that a rule of the CRD compares with each other.
COMPARED = re.compile(r"self\.([\w.]+) *(?:<=|<|>=|>) *self\.([\w.]+)")


def compared_fields() -> list[tuple[str, str, str]]:
    """Object, and the two fields of it that a rule compares."""
    found = []
    for make in KINDS:
        schema: Json = make()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        for path, node in nodes(schema):
            for rule in node.get("x-kubernetes-validations", []):
                found += [(path, *pair) for pair in COMPARED.findall(rule["rule"])]
    return found


PAIRS = compared_fields()
DEFAULTS = {
    path: node["default"]
    for make in KINDS
    for path, node in nodes(make()["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
    if "default" in node
}


def test_the_rules_that_compare_fields_are_found() -> None:
    assert {(one, other) for _, one, other in PAIRS} == {
        ("timeouts.executionSeconds", "activeDeadlineSeconds"),
        ("idleTimeoutSeconds", "maxLifetimeSeconds"),
        ("executionTimeoutSeconds", "maxLifetimeSeconds"),
        ("minReady", "maxReady"),
    }


@pytest.mark.parametrize(("path", "one", "other"), PAIRS)
def test_the_api_server_fills_in_no_field_that_a_rule_compares(
    path: str, one: str, other: str
) -> None:
    assert f"{path}.{one}" not in DEFAULTS
    assert f"{path}.{other}" not in DEFAULTS


def spec(**fields: Any) -> Spec:
    return Spec.model_validate({"code": {"inline": "x"}, **fields})


SECONDS = st.none() | st.integers(5, 604_800)


@given(SECONDS, SECONDS, SECONDS)
def test_the_times_of_a_session_fit_into_its_lifetime(
    idle: int | None, lifetime: int | None, execution: int | None
) -> None:
    written = {"idleTimeoutSeconds": idle, "maxLifetimeSeconds": lifetime}
    written |= {"executionTimeoutSeconds": execution}
    rules = SessionSpec.model_validate({k: v for k, v in written.items() if v is not None})

    in_force = {
        "idleTimeoutSeconds": rules.idle_seconds,
        "maxLifetimeSeconds": rules.lifetime_seconds,
        "executionTimeoutSeconds": rules.execution_seconds,
    }

    for name, value in written.items():
        assert value in (None, in_force[name]), "what the user wrote is in force"
    for name in ("idleTimeoutSeconds", "executionTimeoutSeconds"):
        if None in (written[name], lifetime):  # otherwise the API server compares them
            assert in_force[name] <= rules.lifetime_seconds


def test_the_times_of_a_session_have_defaults() -> None:
    rules = SessionSpec()

    assert (rules.idle_seconds, rules.lifetime_seconds, rules.execution_seconds) == (
        900, 28_800, 300,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "want"),
    [
        ({}, 300),
        ({"activeDeadlineSeconds": 60}, 60),
        ({"activeDeadlineSeconds": 60, "timeouts": {"uploadSeconds": 9}}, 60),
        ({"activeDeadlineSeconds": 3600}, 300),
        ({"activeDeadlineSeconds": 60, "timeouts": {"executionSeconds": 30}}, 30),
    ],
)
def test_the_timeout_of_code_is_not_longer_than_the_deadline(fields: Json, want: int) -> None:
    assert spec(**fields).execution_seconds == want


@pytest.mark.parametrize(
    ("fields", "want"),
    [({}, 60), ({"initialSeconds": 300}, 300), ({"initialSeconds": 300, "maxSeconds": 9}, 9),
     ({"maxSeconds": 0}, 0)],
)  # fmt: skip
def test_the_longest_pause_is_not_shorter_than_the_first(fields: Json, want: int) -> None:
    assert Backoff.model_validate(fields).longest_seconds == want


@pytest.mark.parametrize(
    ("fields", "want"),
    [({}, 4 << 30), ({"maxFileBytes": 9 << 30}, 9 << 30), ({"maxBytes": 5}, 5),
     ({"maxFileBytes": 9 << 30, "maxBytes": 5}, 5)],
)  # fmt: skip
def test_one_large_file_fits_into_all_files_together(fields: Json, want: int) -> None:
    assert Outputs.model_validate(fields).total_bytes == want


@pytest.mark.parametrize(
    ("fields", "want"),
    [
        ({}, "Deny"),
        ({"cidrs": [], "hosts": []}, "Deny"),
        ({"hosts": ["example.com"]}, "Allowlist"),
        ({"cidrs": ["203.0.113.0/24"]}, "Allowlist"),
        ({"egress": "Deny"}, "Deny"),
        ({"egress": "Internet"}, "Internet"),
    ],
)
def test_a_list_of_a_network_is_an_allow_list(fields: Json, want: str) -> None:
    assert Network.model_validate(fields).access == want


@pytest.mark.parametrize(
    ("fields", "want"),
    [
        ({}, (1, 1)),
        ({"minReady": 0}, (0, 0)),
        ({"minReady": 7}, (7, 7)),
        ({"maxReady": 0}, (0, 0)),
        ({"maxReady": 9}, (1, 9)),
        ({"minReady": 2, "maxReady": 9}, (2, 9)),
    ],
)
def test_the_bounds_of_a_pool_follow_from_each_other(fields: Json, want: tuple[int, int]) -> None:
    pool = PoolSpec.model_validate(fields)

    assert (pool.least_ready, pool.most_ready) == want
