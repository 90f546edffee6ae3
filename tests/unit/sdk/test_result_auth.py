"""Codes of results: what they cover, and that they do not depend on the version of a reader."""

import json
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given

from nanogrid import result_auth, wire
from support import strategies
from support.builders import JOB_UID, a_report, a_result

pytestmark = pytest.mark.security

MASTER = "master-key-of-an-installation"
KEY = result_auth.derive_key(MASTER, JOB_UID)
SIGNED = result_auth.sign(a_result(), KEY)


def data_of(result: wire.Result) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(wire.dumps(result))
    return found


def test_each_job_and_each_installation_has_another_key() -> None:
    keys = {
        result_auth.derive_key(master, uid) for master in (MASTER, "other") for uid in ("a", "b")
    }

    assert len(keys) == 4
    assert {len(key) for key in keys} == {64}
    assert MASTER not in "".join(keys)


@given(strategies.results)
def test_a_signed_result_is_authentic_after_a_round_trip(result: wire.Result) -> None:
    signed = result_auth.sign(result, KEY)

    assert result_auth.verify(data_of(signed), KEY)
    assert not result_auth.verify(data_of(signed), result_auth.derive_key(MASTER, "another"))
    assert result_auth.sign(signed, KEY) == signed, "signing again changes nothing"
    assert signed.authentication is not None
    assert signed.authentication.startswith("hmac-sha256:")


@pytest.mark.parametrize("name", [f.name for f in fields(wire.Result)])
def test_every_field_is_covered(name: str) -> None:
    data = data_of(SIGNED)
    data[wire.json_name(name)] = "forged"

    assert result_auth.verify(data_of(SIGNED), KEY)
    assert not result_auth.verify(data, KEY)


@pytest.mark.parametrize("code", [None, "", "hmac-sha256:", 7, ["x"], "x" * 9, "\ud800é"])
def test_a_malformed_code_is_not_valid(code: object) -> None:
    assert not result_auth.verify(data_of(SIGNED) | {"authentication": code}, KEY)


def test_the_code_of_a_newer_agent_covers_fields_that_this_version_does_not_know() -> None:
    newer = data_of(a_result()) | {"addedLater": {"z": 1, "a": "합계"}}
    newer["authentication"] = result_auth.code(newer, KEY)

    assert result_auth.verify(json.loads(json.dumps(newer)), KEY)
    assert not result_auth.verify(newer | {"addedLater": None}, KEY)


def test_the_code_of_an_older_agent_covers_no_more_than_it_wrote() -> None:
    older = {k: v for k, v in data_of(a_result()).items() if k not in ("namespace", "cpuMillis")}
    older["authentication"] = result_auth.code(older, KEY)

    assert result_auth.verify(older, KEY)


def test_the_order_of_keys_does_not_matter() -> None:
    assert result_auth.verify(dict(reversed(data_of(SIGNED).items())), KEY)


def test_without_a_key_nothing_is_signed() -> None:
    assert result_auth.sign(a_result(), "") == a_result()
    assert result_auth.sign_report(a_report(), "") == a_report()
    assert result_auth.sign_report(a_report(), KEY).result == SIGNED


def test_a_code_is_known() -> None:
    """Other programs can compute it, so it must not change."""
    result = replace(a_result(), stdout="합계\n")

    assert result_auth.code(wire.to_dict(result), "key") == result_auth.code(data_of(result), "key")
    assert result_auth.code({"b": 1, "a": "é", "authentication": "x"}, "key") == (
        "hmac-sha256:"
        # printf '{"a":"\\u00e9","b":1}' | openssl dgst -sha256 -hmac key
        "5d40b3ce84add909df190c4cf0e820b9cc0303cc229649a92c0aeb1eaca484ae"
    )
