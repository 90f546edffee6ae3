"""The mirror from which Debian is unpacked."""

from __future__ import annotations

import pytest

from cluster import versions
from cluster.osroot import mirror

SECURITY = "http://mirror.example/security/ trixie-security Debian-Security"


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (
            ["http://a.example/ bookworm Debian", "http://b.example/ trixie Debian"],
            "http://b.example/",
        ),
        # A mirror has all suites, and a machine with a mirror may reach no other server.
        (["http://a.example/ bookworm Debian", SECURITY], "http://a.example/"),
        ([SECURITY], None),
        (["http://c.example/ noble Ubuntu", "http://d.example/ x Docker CE"], None),
        (["http://e.example/"], None),
        ([], None),
    ],
)
def test_the_mirror_of_the_machine_is_used(targets: list[str], expected: str | None) -> None:
    assert mirror(targets, "trixie") == ([expected] if expected else [])


def test_only_the_nodes_stay_on_debian_12() -> None:
    assert (versions.NODE_SUITE, versions.BASE_SUITE) == ("bookworm", "trixie")
