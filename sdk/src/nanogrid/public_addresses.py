"""Which addresses are public, and which are never reachable. Standard library only.

The operator writes these networks into NetworkPolicies, the egress proxy checks what a name
resolves to, and the chart's policy of the proxy repeats them.
"""

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final

from nanogrid.addresses import Networks

# Addresses that are never public: RFC 1918, RFC 6598, loopback, link-local with the metadata
# services of clouds, Azure's host agent, benchmarking, multicast, reserved.
PRIVATE_V4: Final = (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "168.63.129.16/32",
    "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.168.0.0/16", "198.18.0.0/15",
    "224.0.0.0/4", "240.0.0.0/4",
)  # fmt: skip
# Loopback and IPv4 in IPv6 (mapped, translated, Teredo, 6to4), discard, unique local (with
# fd00:ec2::254), link-local, site-local, multicast.
PRIVATE_V6: Final = (
    "::/8", "64:ff9b::/96", "100::/64", "2001::/32", "2002::/16", "fc00::/7", "fe80::/10",
    "fec0::/10", "ff00::/8",
)  # fmt: skip
# Never reachable, whatever an allow-list says: link-local, and the metadata services elsewhere, of
# Alibaba, Azure, Oracle, AWS and Google.
METADATA: Final = (
    "100.100.100.200/32", "168.63.129.16/32", "169.254.0.0/16", "192.0.0.192/32", "fe80::/10",
    "fd00:ec2::/32", "fd20:ce::254/128",
)  # fmt: skip

PRIVATE: Final[Networks] = tuple(map(ip_network, (*PRIVATE_V4, *PRIVATE_V6)))


def within(inner: IPv4Network | IPv6Network, outer: IPv4Network | IPv6Network) -> bool:
    """Whether a network is part of another one."""
    return inner.version == outer.version and inner.subnet_of(outer)  # type: ignore[arg-type]


def is_public(address: str, denied: Networks = ()) -> bool:
    """Whether an address is public, and in none of the denied networks.

    Args:
        address: as text; a text that is no address is not public.
        denied: networks with public addresses that do not count as public.
    """
    try:
        known = ip_address(address)
    except ValueError:
        return False
    return not any(known in network for network in (*PRIVATE, *denied))
