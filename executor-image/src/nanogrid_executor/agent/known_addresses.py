"""Addresses of hosts that this process has reached.

A look-up of the operator's name costs up to three questions to the cluster's DNS, each for IPv4 and
IPv6. The network gate has the answer before the code starts, so the report needs none.
"""

from typing import Final

_known: Final[dict[str, str]] = {}


def remember(host: str, address: str) -> None:
    """This address of the host has accepted a connection."""
    _known[host] = address


def address_of(host: str) -> str:
    """The address that the host had; the host itself if it is not known."""
    return _known.get(host, host)


def forget(host: str) -> None:
    """The address did not answer: the next connection looks the name up."""
    _known.pop(host, None)
