"""JSON texts of others: what is none, and what would exhaust the stack."""

import pytest

from nanogrid import json_text


def test_a_text_is_parsed() -> None:
    assert json_text.parse('{"a": [1]}') == {"a": [1]}
    assert json_text.parse(b"null") is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [("[" * 200_000, "nested too deeply"), ("{", "Expecting"), (b"\xff", "decode")],
)
def test_another_text_is_a_value_error(text: str | bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        json_text.parse(text)
