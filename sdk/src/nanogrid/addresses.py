"""IP addresses of clients: which one counts, and which ones are one client."""

import ipaddress
from collections.abc import Sequence
from typing import Final

from nanogrid.settings import SettingsError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Networks = tuple[Network, ...]

IPV6_CLIENT_BITS: Final = 64  # one client usually owns a whole network of this size


def networks(text: str, variable: str) -> Networks:
    """The networks of a comma-separated list of CIDRs.

    Args:
        text: such as ``10.0.0.0/16, 10.1.0.0/16``.
        variable: the setting that the list comes from.

    Raises:
        SettingsError: an entry is no CIDR.
    """
    try:
        return tuple(ipaddress.ip_network(n.strip()) for n in text.split(",") if n.strip())
    except ValueError as e:
        raise SettingsError(f"{variable}: {e}; expected CIDRs such as 10.0.0.0/16") from None


def plain(address: str) -> str:
    """An address as people write it: a socket for IPv6 and IPv4 has ::ffff:10.0.0.1 for 10.0.0.1.

    Other addresses, and texts that are no address, stay as they are.
    """
    known = _parse(address)
    return str(known) if isinstance(known, ipaddress.IPv4Address) else address


def client_key(address: str) -> str:
    """What limits per address count by: the IPv4 address, or the /64 network of an IPv6 address."""
    known = _parse(address)
    if isinstance(known, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((known, IPV6_CLIENT_BITS), strict=False))
    return str(known) if known is not None else address


def is_in(address: str, known: Networks) -> bool:
    """Whether an address belongs to one of the networks."""
    found = _parse(address)
    return found is not None and any(found in network for network in known)


def client_address(peer: str, forwarded: Sequence[str], proxies: Networks) -> str:
    """The address of the client of a request.

    A client can send any ``X-Forwarded-For``. Each proxy appends the address that it sees, so only
    what a trusted proxy appended counts: the search goes from the peer to the left.

    Args:
        peer: the address of the connection.
        forwarded: the values of all ``X-Forwarded-For`` headers, in their order.
        proxies: the trusted proxies.
    """
    hops = [_without_port(hop) for value in forwarded for hop in value.split(",")]
    address = plain(peer)
    while hops and is_in(address, proxies):
        hop = hops.pop()
        if _parse(hop) is None:
            break
        address = plain(hop)
    return address


def _without_port(hop: str) -> str:
    """The address of a hop: some load balancers append the port, 10.0.0.1:80 or [fd00::1]:80."""
    hop = hop.strip()
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


def _parse(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found
