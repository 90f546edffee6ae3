"""Memory as a status shows it."""

from typing import Any

import pytest

from nanogrid.shown_memory import shown_memory

MIB = 1 << 20


@pytest.mark.parametrize(
    ("status", "shown"),
    [
        ({}, (None, None, None)),
        ({"memory": "38Mi"}, (38 * MIB, None, None)),
        ({"memory": "900B", "peakMemory": "12Ki"}, (900, 12 << 10, None)),
        ({"memory": "38Mi", "peakMemory": "41Mi/1.5Gi"}, (38 * MIB, 41 * MIB, 1536 * MIB)),
        ({"memory": "much", "peakMemory": "/"}, (None, None, None)),
    ],
)
def test_bytes_of_the_shown_text(status: Any, shown: Any) -> None:
    assert shown_memory(status) == shown
