"""Which addresses are public."""

from ipaddress import ip_network

import pytest

from nanogrid.public_addresses import METADATA, PRIVATE, is_public, within

PUBLIC = ["8.8.8.8", "1.1.1.1", "172.32.0.1", "192.167.255.255", "2606:4700::1111", "2a00:1450::1"]
NOT_PUBLIC = [
    "0.0.0.0",
    "10.96.0.1",
    "100.64.0.1",
    "100.100.100.200",  # metadata of Alibaba Cloud
    "127.0.0.1",
    "127.1.2.3",
    "168.63.129.16",  # Azure's host agent
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:8.8.8.8",
    "::ffff:169.254.169.254",
    "::ffff:a9fe:a9fe",
    "::8.8.8.8",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",  # Teredo
    "2002:a9fe:a9fe::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "",
    "example.com",
    "127.1",
    "0x7f000001",
    "2130706433",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_other_addresses_are_not(address: str) -> None:
    assert not is_public(address)


def test_a_platform_can_deny_public_addresses() -> None:
    denied = (ip_network("203.0.113.0/24"), ip_network("2606:4700::/32"))
    found = {a: is_public(a, denied) for a in ("203.0.113.9", "203.0.112.9", "2606:4700::1111")}
    assert found == {"203.0.113.9": False, "203.0.112.9": True, "2606:4700::1111": False}


def test_metadata_addresses_are_not_public() -> None:
    for block in map(ip_network, METADATA):
        assert any(within(block, outer) for outer in PRIVATE), block
