"""Slots that each owner has for itself."""

import pytest

from nanogrid.connection_limits import Shares


class FullError(Exception):
    """The owner has no free slot."""


def test_each_owner_has_slots_of_its_own() -> None:
    shares = Shares(1)
    with shares.slot("a", FullError), shares.slot("b", FullError):
        with pytest.raises(FullError), shares.slot("a", FullError):
            pass
        with pytest.raises(FullError), shares.slot("b", FullError):
            pass


def test_an_error_frees_the_slot() -> None:
    shares = Shares(1)
    for _ in range(2):
        with pytest.raises(KeyError), shares.slot("a", FullError):
            raise KeyError
