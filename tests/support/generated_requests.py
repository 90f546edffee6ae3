"""Requests that schemathesis generates from an OpenAPI document."""

from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from nanogrid.types import Json

CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
)


def operations(document: Json) -> list[tuple[str, str, GenerationMode]]:
    """Method, path and mode of all operations, with valid and with invalid requests."""
    return [
        (method, path, mode)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        for mode in GenerationMode
        # Without parameters and body, no request can be invalid.
        if mode is GenerationMode.POSITIVE or {"parameters", "requestBody"} & set(operation)
    ]


def check_operation(
    operation: "APIOperation[Any, Any, Any, Any]",
    mode: GenerationMode,
    *,
    examples: int,
    checks: Sequence[Callable[..., Any]] = CHECKS,
    headers: dict[str, str] | None = None,
) -> None:
    """Send generated requests, and check each answer against the document."""
    tried = []

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def attempt(case: Any) -> None:
        case.call_and_validate(headers=headers, checks=list(checks))
        tried.append(case)

    attempt()
    assert tried
