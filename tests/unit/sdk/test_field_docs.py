"""docs/executionjob.md has every field and every rule of the CRD, and all links have targets."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from nanogrid.codegen.crd import crd, function_crd
from nanogrid.codegen.field_docs import anchor, fields_markdown
from support.schemas import generated_once

PAGE = fields_markdown(crd())


def sections() -> dict[str, str]:
    parts = re.split(r"^## `(.+?)`\n", PAGE, flags=re.M)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def schema() -> dict[str, Any]:
    version: dict[str, Any] = crd()["spec"]["versions"][0]
    top: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    return top


def fields(node: dict[str, Any], path: str) -> Iterator[tuple[str, str]]:
    """(section, field) of everything below a node."""
    for name, field in node.get("properties", {}).items():
        yield path or "ExecutionJob", name
        inner, below = field, f"{path}.{name}".lstrip(".")
        while "items" in inner:
            inner, below = inner["items"], f"{below}[]"
        yield from fields(inner, below)


def messages(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        yield from (rule["message"] for rule in node.get("x-kubernetes-validations", []))
        for inner in node.values():
            yield from messages(inner)


def row(section: str, field: str) -> list[str]:
    for line in sections()[section].splitlines():
        if line.startswith(f"| `{field}` |"):
            return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    raise AssertionError(f"{section} has no row for {field}")


def test_the_page_is_among_the_generated_once() -> None:
    assert generated_once()["docs/executionjob.md"] == PAGE


def test_functions_have_their_own_page() -> None:
    page = generated_once()["docs/function.md"]

    assert page == fields_markdown(function_crd(), "versions")
    assert page.startswith("# Function, field by field\n")
    assert "kubectl explain fn.spec.versions" in page
    assert "## Columns of `kubectl get fn`" in page
    assert "kubectl explain ej.spec.inputs" in PAGE


def test_every_field_at_every_level_has_a_row_of_five_cells() -> None:
    found = list(fields(schema(), ""))

    assert len(found) > 100
    assert [where for where in found if len(row(*where)) != 5] == []


def test_every_field_of_spec_and_status_is_described() -> None:
    found = [where for where in fields(schema(), "") if where[0] != "ExecutionJob"]

    assert [where for where in found if not row(*where)[4]] == []


def test_the_page_has_the_message_of_every_rule() -> None:
    plain = PAGE.replace("\\", "")

    for message in messages(schema()):
        text = re.sub(r"^spec\.\w+ (?=of a job)", "", message)
        assert text in plain


def test_every_link_has_a_section_and_anchors_are_unique() -> None:
    anchors = [anchor(path) for path in sections()]

    assert len(set(anchors)) == len(anchors)
    assert set(re.findall(r"\]\(#([\w-]+)\)", PAGE)) == set(anchors)


def test_tables_have_no_broken_line() -> None:
    for line in PAGE.splitlines():
        if line.startswith("|"):
            assert line.endswith("|")
    assert "None" not in PAGE


@pytest.mark.parametrize(
    ("section", "field", "cells"),
    [
        ("ExecutionJob", "spec", ["[object](#spec)", "**required**", ""]),
        ("spec", "mode", ["string", "`Batch`", "`Batch` `Session`"]),
        ("spec", "backoffLimit", ["integer", "0", "0 to 10"]),
        ("spec", "inputs", ["list of [object](#specinputs)", "", "at most 16 items"]),
        ("spec", "command", ["list of string", "",
                             "1 to 64 items; each at most 4,096 characters; each `^[^\\x00]*$`"]),
        ("spec.inputs[]", "unpack", ["boolean", "`false`", ""]),
        ("spec.outputs", "maxFileBytes", ["integer", "1Gi", "1 to 1Ti"]),
        ("spec.outputs", "presignedExpirySeconds", ["integer", "3,600", "1 to 604,800"]),
        ("spec.env[]", "value", ["string", "", "at most 32,768 characters; `^[^\\x00]*$`"]),
        ("status", "result", ["any object", "", ""]),
        ("status", "startTime", ["time", "", ""]),
    ],
)  # fmt: skip
def test_a_row_has_type_default_and_bounds(section: str, field: str, cells: list[str]) -> None:
    assert row(section, field)[1:4] == cells


def test_rules_that_differ_only_in_the_field_appear_once() -> None:
    lines = [line for line in PAGE.splitlines() if "cannot be changed" in line]

    assert len(lines) == 1
    assert lines[0].startswith("- `spec.mode`, `spec.requestId`, ")


def test_maps_single_numbers_and_pipes_are_rendered() -> None:
    top = {
        "type": "object",
        "properties": {
            "labels": {
                "type": "object",
                "description": "a | b",
                "additionalProperties": {"type": "string"},
            },
            "size": {"type": "integer", "minimum": 3, "maximum": 3},
        },
    }
    version = {"schema": {"openAPIV3Schema": top}, "additionalPrinterColumns": []}
    named = {"kind": "Thing", "shortNames": ["th"]}
    page = fields_markdown({"spec": {"names": named, "versions": [version]}})

    assert "| `labels` | map of string |  |  | a \\| b |" in page
    assert "| `size` | integer |  | 3 |  |" in page
