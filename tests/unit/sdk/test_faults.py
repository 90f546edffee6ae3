"""What a user reads about an object that a model refuses."""

import pytest
from pydantic import BaseModel, ValidationError

from nanogrid.api.faults import faults, fields_at
from nanogrid.api.function_spec import FunctionSpec
from nanogrid.api.job import ExecutionJob, Spec
from nanogrid.client.errors import InvalidRequest
from nanogrid.client.jobs.manifest import build_job, validate
from nanogrid.types import Json
from nanogrid_gateway.api.errors import ApiError
from nanogrid_gateway.api.requests import run_request, upload_form
from nanogrid_operator.model.facts import job_facts
from support.cli_fakes import job
from support.cli_terminal import Terminal


def refused(model: type[BaseModel], value: Json, where: str = "") -> str:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(value)
    return faults(caught.value, model, where)


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"code": {"inlin": "x"}}, 'spec.code: unknown field "inlin" (did you mean "inline"?)'),
        ({"cod": {}}, 'spec: unknown field "cod" (did you mean "code"?)'),
        ({"requestID": "r"}, 'spec: unknown field "requestID" (did you mean "requestId"?)'),
        ({"backoff_limits": 1}, 'unknown field "backoff_limits" (did you mean "backoffLimit"?)'),
        (
            {"resources": {"limit": {"memory": "1Gi"}}},
            'spec.resources: unknown field "limit" (did you mean "limits"?)',
        ),
        (
            {"timeouts": {"executionSecond": 5}},
            'spec.timeouts: unknown field "executionSecond" (did you mean "executionSeconds"?)',
        ),
        (
            {"inputs": [{"name": "a", "s3": {"prefx": "x/"}, "mountPath": "/app/data"}]},
            'spec.inputs.0.s3: unknown field "prefx" (did you mean "prefix"?)',
        ),
        ({"env": [{"name": "A", "valu": "b"}]}, '(did you mean "value"?)'),
        ({"zzz": 1}, 'spec: unknown field "zzz"'),
    ],
)
def test_an_unknown_field_is_named_with_one_that_is_alike(spec: Json, text: str) -> None:
    found = refused(Spec, spec, "spec")
    assert text in found
    assert "Extra inputs" not in found
    if "zzz" in spec:
        assert "did you mean" not in found


def test_other_faults_keep_their_field_and_their_text() -> None:
    text = refused(Spec, {"backoffLimit": -1, "code": 3}, "spec")
    assert "spec.backoffLimit: Input should be greater than or equal to 0" in text
    assert "spec.code: " in text


def test_the_fields_of_a_place_are_found_through_lists_and_choices() -> None:
    assert "prefix" in fields_at(ExecutionJob, ["spec", "inputs", 3, "s3"])
    assert "sha256" in fields_at(FunctionSpec, ["versions", 0, "s3"])
    assert fields_at(Spec, ["no", "such", "place"]) == fields_at(Spec, [])


def test_client_cli_gateway_and_operator_use_the_same_words(terminal: Terminal) -> None:
    words = 'unknown field "inlin" (did you mean "inline"?)'
    with pytest.raises(InvalidRequest, match=r"spec\.code") as caught:
        validate({"code": {"inlin": "x"}})
    assert words in caught.value.message
    with pytest.raises(InvalidRequest) as caught:
        build_job("x", spec={"timeout": {}})
    assert '(did you mean "timeouts"?)' in caught.value.message
    manifest = job("typo")
    del manifest["status"]
    manifest["spec"] = {"code": {"inlin": "x"}}
    assert words in job_facts(manifest).error
    done = terminal.run("submit", "-f", "-", stdin=str(manifest).replace("'", '"'))
    assert words in done.stderr
    with pytest.raises(ApiError, match=r'body: unknown field "functionid" \(did you mean "func'):
        run_request(b'{"functionId": "f", "functionid": "f"}')
    with pytest.raises(ApiError, match=r'did you mean "memory"'):
        upload_form({"memmory": "1Gi"})
