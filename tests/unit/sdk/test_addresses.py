"""The address of a client behind proxies, and what counts as one client."""

import pytest

from nanogrid.addresses import client_address, client_key, is_in, networks, plain
from nanogrid.settings import SettingsError

PROXIES = networks("10.0.0.0/16, fd00::/8", "PROXIES")


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("198.51.100.7", [], "198.51.100.7"),
        ("198.51.100.7", ["203.0.113.9"], "198.51.100.7"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["203.0.113.9, 198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["203.0.113.9", "198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["203.0.113.9, 198.51.100.7, 10.0.5.5"], "198.51.100.7"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["203.0.113.9, garbage"], "10.0.0.1"),
        ("fd00::1", ["2001:db8::1"], "2001:db8::1"),
        ("-", ["203.0.113.9"], "-"),
        ("::ffff:10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("::ffff:198.51.100.7", ["203.0.113.9"], "198.51.100.7"),
        ("fd00::1", ["::ffff:203.0.113.9"], "203.0.113.9"),
        ("fd00::1", ["203.0.113.9, [2001:db8::1]"], "2001:db8::1"),
        ("fd00::1", ["[2001:db8::1]:4711, [fd00::2]:80"], "2001:db8::1"),
        ("10.0.0.1", ["203.0.113.9:4711"], "203.0.113.9"),
        ("10.0.0.1", ["203.0.113.9, [garbage]:80"], "10.0.0.1"),
    ],
)
def test_only_what_trusted_proxies_append_counts(
    peer: str, forwarded: list[str], expected: str
) -> None:
    assert client_address(peer, forwarded, PROXIES) == expected


def test_without_trusted_proxies_the_peer_counts() -> None:
    assert client_address("10.0.0.1", ["203.0.113.9"], ()) == "10.0.0.1"


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("-", "-"),
    ],
)
def test_a_client_is_an_ipv4_address_or_an_ipv6_network(address: str, key: str) -> None:
    assert client_key(address) == key


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("::FFFF:a00:1", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("-", "-"),
        ("", ""),
    ],
)
def test_an_ipv4_address_of_an_ipv6_socket_is_written_plainly(address: str, expected: str) -> None:
    assert plain(address) == expected


def test_networks_include_mapped_addresses() -> None:
    assert is_in("::ffff:10.0.0.1", PROXIES)
    assert not is_in("10.1.0.1", PROXIES)
    assert not is_in("-", PROXIES)


@pytest.mark.parametrize("text", ["10.0.0.0/33", "10.0.0.1/16", "alb", "10.0.0.0/16;10.1.0.0/16"])
def test_a_wrong_list_names_its_setting(text: str) -> None:
    with pytest.raises(SettingsError, match="PROXIES"):
        networks(text, "PROXIES")
    assert networks("", "PROXIES") == ()
