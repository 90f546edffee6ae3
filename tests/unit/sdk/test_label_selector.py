"""A label selector matches as in Kubernetes."""

import pytest

from nanogrid.api.label_selector import LabelSelector
from nanogrid.types import Json

LABELS = {"team": "data", "size": "small", "beta": ""}


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        ({}, True),
        ({"matchLabels": {"team": "data"}}, True),
        ({"matchLabels": {"team": "data", "size": "large"}}, False),
        ({"matchLabels": {"absent": ""}}, False),
        ({"matchLabels": {"beta": ""}}, True),
    ],
)
def test_all_labels_must_be_equal(selector: Json, matches: bool) -> None:
    assert LabelSelector.model_validate(selector).matches(LABELS) is matches


@pytest.mark.parametrize(
    ("key", "operator", "values", "matches"),
    [
        ("team", "In", ["web", "data"], True),
        ("team", "In", ["web"], False),
        ("absent", "In", ["", "web"], False),
        ("team", "NotIn", ["web"], True),
        ("team", "NotIn", ["data"], False),
        ("absent", "NotIn", ["data"], True),
        ("beta", "Exists", [], True),
        ("absent", "Exists", [], False),
        ("absent", "DoesNotExist", [], True),
        ("beta", "DoesNotExist", [], False),
    ],
)
def test_operators(key: str, operator: str, values: list[str], matches: bool) -> None:
    condition = {"key": key, "operator": operator, "values": values}

    found = LabelSelector.model_validate({"matchExpressions": [condition]})

    assert found.matches(LABELS) is matches


def test_labels_and_conditions_must_all_match() -> None:
    condition = {"key": "size", "operator": "In", "values": ["small"]}
    selector = {"matchLabels": {"team": "data"}, "matchExpressions": [condition]}
    found = LabelSelector.model_validate(selector)

    assert found.matches(LABELS)
    assert not found.matches(LABELS | {"size": "large"})
    assert not found.matches(LABELS | {"team": "web"})
