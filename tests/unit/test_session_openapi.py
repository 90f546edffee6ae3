"""The API's own document, and the API against it: requests that schemathesis makes up from it."""

import json
from typing import Any

import jsonschema
import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import negative_data_rejection, not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from nanogrid_executor.session.errors import ApiError
from nanogrid_executor.session.openapi import document
from nanogrid_executor.session.port import ExecutionEnd, ExecutionOrder, Sink
from nanogrid_executor.session.requests import FILE_SYNC_SCHEMA, execute_schema
from nanogrid_executor.session.schema import check
from unit.session_fakes import RULES, FakeSandbox, client_of, make_paths, make_session

EXAMPLES = 25
TOKEN = "the-token"
OPERATIONS = [
    (method, path, mode)
    for path, item in document(RULES)["paths"].items()
    for method, operation in item.items()
    for mode in GenerationMode
    # Without parameters and body there is nothing to get wrong.
    if mode is GenerationMode.POSITIVE or {"parameters", "requestBody"} & set(operation)
]


class NothingRuns(FakeSandbox):
    """Made-up code is not run."""

    def run(self, order: ExecutionOrder, sink: Sink) -> ExecutionEnd:
        sink.started(0)
        return ExecutionEnd(exit_code=0)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Flask:
    paths = make_paths(tmp_path_factory.mktemp("session"))
    session = make_session(paths, sandbox=NothingRuns(paths.workspace))
    session.ask_end = lambda reason, why="": None  # type: ignore[method-assign]
    client = client_of(session, TOKEN)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    client.post("/execute", json={"code": "1"}, headers=headers)
    client.put("/files/data/x", data=b"x", headers=headers)
    return client.application


@pytest.mark.parametrize(("method", "path", "mode"), OPERATIONS)
def test_every_answer_is_as_the_document_says(
    app: Flask, method: str, path: str, mode: GenerationMode
) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    schema = schemathesis.openapi.from_wsgi("/openapi.json", app, headers=headers)
    operation = schema[path][method.upper()]
    checks = [
        not_a_server_error,
        status_code_conformance,
        content_type_conformance,
        response_schema_conformance,
    ]
    if mode is GenerationMode.NEGATIVE and "POST" in method.upper():
        checks.append(negative_data_rejection)
    tried = []

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def attempt(case: Any) -> None:
        case.call_and_validate(headers=headers, checks=checks)
        tried.append(case)

    attempt()
    assert tried


def accepts(schema: dict[str, Any], value: Any) -> bool:
    try:
        check(schema, value)
    except ApiError:
        return False
    return True


@pytest.mark.parametrize("schema", [execute_schema(RULES), FILE_SYNC_SCHEMA])
@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(data=st.data())
def test_the_small_validator_agrees_with_a_whole_one(
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

    whole = jsonschema.Draft202012Validator(schema)

    assert accepts(schema, value) == whole.is_valid(value)


def test_the_document_is_what_the_path_gives(app: Flask) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    given_ = app.test_client().get("/openapi.json", headers=headers).json
    assert given_ == json.loads(json.dumps(document(RULES)))
