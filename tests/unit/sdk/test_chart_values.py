"""docs/values.md: every value of the chart has a row, a meaning and a place in the schema."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from nanogrid.codegen.chart_values import value_groups, values_markdown

CHART = Path("helm/nanogrid-operator")
TEXT = (CHART / "values.yaml").read_text(encoding="utf-8")
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
FIELDS: dict[str, Any] = {"name": {"type": "string"}, "mode": {"enum": ["", "fast", "slow"]}}
EXAMPLE = {
    "properties": {
        "plain": {"type": "string"},
        "open": {"type": "object"},
        "router": {"properties": FIELDS},
        "operator": {"properties": FIELDS},
    }
}


def rows(text: str, schema: dict[str, Any] = EXAMPLE) -> dict[str, tuple[str, str]]:
    """Default and meaning of each value by its path."""
    groups = value_groups(text, schema)
    return {v.path: (v.default, v.meaning.strip()) for g in groups for v in g.values}


def test_a_comment_explains_its_value_and_those_below_without_one() -> None:
    found = rows("operator:\n  # -- What it\n  # -- is.\n  name: a\n  mode: fast\n")

    assert found == {
        "operator.name": ("a", "What it is."),
        "operator.mode": ("fast", "What it is. Choices: `fast`, `slow`."),
    }


def test_a_shared_value_is_explained_once() -> None:
    text = "operator:\n  # -- A name.\n  name: a\nrouter:\n  # -- Other.\n  mode: fast\n  name: b\n"

    assert rows(text)["router.name"] == ("b", "A name.")


def test_values_without_fields_of_their_own_are_one_row() -> None:
    found = rows("# -- Any.\nopen:\n  a: 1\n  b: {c: 2}\n")

    assert found == {"open": ("{a: 1, b: {c: 2}}", "Any.")}


def test_long_defaults_and_separators_of_the_table_do_not_break_it() -> None:
    page = values_markdown(f"# -- a | b\nplain: {'x' * 99}\n", EXAMPLE)

    assert page.splitlines()[-1] == "| `plain` | in values.yaml | a \\| b |"


def test_every_value_has_a_meaning() -> None:
    assert [path for path, (_, meaning) in rows(TEXT, SCHEMA).items() if not meaning] == []


def leaves(node: Any, path: str = "") -> Iterator[str]:
    """The paths of all values of values.yaml."""
    for key, value in node.items():
        yield f"{path}{key}"
        if isinstance(value, dict):
            yield from leaves(value, f"{path}{key}.")


# Values that are empty by default: their fields are those of Kubernetes, of a NanoGridTenant or of
# a TargetGroupBinding.
EMPTY = ("podDisruptionBudget", "timeouts", "defaults", "networking", "targetGroupNetworking")


def known(schema: dict[str, Any], path: str = "") -> Iterator[str]:
    """The paths of all values that the schema names."""
    if "$ref" in schema:
        schema = SCHEMA["definitions"][schema["$ref"].removeprefix("#/definitions/")]
    for key, child in schema.get("properties", {}).items():
        if child is False:  # a name that is refused
            continue
        yield f"{path}{key}"
        if key not in EMPTY:
            yield from known(child, f"{path}{key}.")


@pytest.mark.parametrize("component", ["operator", "egressProxy", "router", "gateway", ""])
def test_schema_and_values_name_the_same_values(component: str) -> None:
    values, schema = yaml.safe_load(TEXT), SCHEMA
    if component:
        values, schema = values[component], schema["properties"][component]
    in_schema = set(known(schema))

    assert in_schema - set(leaves(values)) == set()
    # The other way round helm refuses the chart's own values; annotations are free.
    assert len(in_schema) > 10
