"""Numbers of things."""

import pytest

from nanogrid.plurals import counted


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 files"), (1, "1 file"), (2, "2 files"), (1284, "1,284 files")]
)
def test_a_thing_is_singular_only_once(count: int, text: str) -> None:
    assert counted(count, "file") == text
