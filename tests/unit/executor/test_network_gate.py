"""What an attempt to connect tells of the network, and what it tells of the machine only."""

import errno
import socket

import pytest

from nanogrid_executor.agent.network_gate import reaches


@pytest.mark.parametrize(
    ("number", "host", "reached"),
    [
        (errno.ECONNREFUSED, "10.0.0.1", False),
        (errno.ENETUNREACH, "fd00::1", False),
        (errno.EADDRNOTAVAIL, "fd00::1", False),
        (errno.EADDRNOTAVAIL, "10.0.0.1", None),
        (errno.EMFILE, "fd00::1", None),
    ],
)
def test_a_pod_without_ipv6_reaches_nothing_of_it(
    monkeypatch: pytest.MonkeyPatch, number: int, host: str, reached: bool | None
) -> None:
    def fails(*_: object) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr(socket, "create_connection", fails)

    assert reaches((host, 8080)) is reached
