"""The OpenAPI document, and the API against requests that schemathesis generates from it."""

import json
from typing import Any

import jsonschema
import pytest
import schemathesis
from flask import Flask
from hypothesis import given, settings
from hypothesis import strategies as st
from schemathesis.checks import negative_data_rejection
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.schemas import OpenApiSchema

from nanogrid_executor.session.api.openapi import document
from nanogrid_executor.session.api.requests import FILE_SYNC_SCHEMA, execute_schema
from nanogrid_executor.session.api.schema import check
from nanogrid_executor.session.errors import ApiError
from nanogrid_executor.session.sandbox_protocol import ExecutionEnd, ExecutionSpec, Sink
from support.generated_requests import CHECKS, check_operation, operations
from support.session_fakes import RULES, FakeSandbox, client_of, make_paths, make_session

EXAMPLES = 25
TOKEN = "the-token"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


class IdleSandbox(FakeSandbox):
    """Runs no code: it is generated."""

    def run(self, spec: ExecutionSpec, sink: Sink) -> ExecutionEnd:
        sink.started(0)
        return ExecutionEnd(exit_code=0)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Flask:
    paths = make_paths(tmp_path_factory.mktemp("session"))
    session = make_session(paths, sandbox=IdleSandbox(paths.workspace))
    session.request_end = lambda reason, why="": None  # type: ignore[method-assign]
    client = client_of(session, TOKEN)
    client.post("/execute", json={"code": "1"}, headers=HEADERS)
    client.put("/files/data/x", data=b"x", headers=HEADERS)
    return client.application


@pytest.fixture(scope="module")
def schema(app: Flask) -> OpenApiSchema:
    return schemathesis.openapi.from_wsgi("/openapi.json", app, headers=HEADERS)


@pytest.mark.parametrize(("method", "path", "mode"), operations(document(RULES)))
def test_responses_match_the_document(
    schema: OpenApiSchema, method: str, path: str, mode: GenerationMode
) -> None:
    operation = schema[path][method.upper()]
    checks = CHECKS
    if mode is GenerationMode.NEGATIVE and "POST" in method.upper():
        checks += (negative_data_rejection,)
    check_operation(operation, mode, examples=EXAMPLES, checks=checks, headers=HEADERS)


def accepts(schema: dict[str, Any], value: Any) -> bool:
    try:
        check(schema, value)
    except ApiError:
        return False
    return True


@pytest.mark.parametrize("schema", [execute_schema(RULES), FILE_SYNC_SCHEMA])
@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(data=st.data())
def test_the_small_validator_agrees_with_a_complete_one(
    schema: dict[str, Any], data: st.DataObject
) -> None:
    fields = [*schema["properties"], "other"]
    values = st.one_of(
        st.none(), st.booleans(), st.integers(-2, 40), st.floats(-2, 40), st.text(max_size=3),
        st.sampled_from(["sync_data_from_s3", "a-b", "print(1)"]),
        st.dictionaries(st.sampled_from(["A", "AWS_X", "1x", "NANOGRID"]), st.text(max_size=2)),
    )  # fmt: skip
    value = data.draw(st.dictionaries(st.sampled_from(fields), values, max_size=6))
    value |= data.draw(st.sampled_from([{}, {key: "x" for key in schema["required"]}]))

    complete = jsonschema.Draft202012Validator(schema)

    assert accepts(schema, value) == complete.is_valid(value)


def test_the_path_returns_the_document(app: Flask) -> None:
    served = app.test_client().get("/openapi.json", headers=HEADERS).json
    assert served == json.loads(json.dumps(document(RULES)))


def test_all_operations_may_answer_that_there_were_too_many_without_the_token() -> None:
    found = {
        f"{method} {path}"
        for path, methods in document(RULES)["paths"].items()
        for method, operation in methods.items()
        if "401" in operation["responses"] and "429" not in operation["responses"]
    }
    assert not found
