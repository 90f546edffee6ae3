"""Signed allow-lists, and which names they match."""

import base64
import json
from dataclasses import asdict, replace
from urllib.parse import urlsplit

import pytest

from nanogrid.egress_grant import (
    Grant,
    InvalidGrantError,
    host_within,
    is_host,
    password,
    proxy_url,
    verified,
)

KEY = "a key of sixteen characters"
NOW = 1_760_000_000.0
GRANT = Grant(
    namespace="team-a",
    job="sales",
    uid="0b9c2f6e-4f0c-4a55-9f5e-0a4a5a1d2c11",
    hosts=("api.example.com", "*.example.org"),
    expires=int(NOW) + 60,
)


def test_the_proxy_reads_what_the_operator_signs() -> None:
    url = urlsplit(proxy_url("http://proxy.platform.svc:3128", KEY, GRANT))

    assert (url.hostname, url.port) == ("proxy.platform.svc", 3128)
    assert verified(KEY, url.username or "", url.password or "", NOW) == GRANT


def test_a_full_allow_list_fits_into_the_head_of_a_request() -> None:
    hosts = tuple(
        f"{number:02}{'a' * 60}.{'b' * 63}.{'c' * 63}.example.com" for number in range(32)
    )
    full = replace(GRANT, hosts=hosts, namespace="n" * 63, job="j" * 253)
    secret = password(KEY, full)

    assert verified(KEY, full.uid, secret, NOW) == full
    assert len(base64.b64encode(f"{full.uid}:{secret}".encode())) < 24 * 1024


def other(**changes: object) -> str:
    """The password of a changed grant, with the signature of the real one."""
    payload = json.dumps(asdict(GRANT) | changes).encode()
    encoded = base64.urlsafe_b64encode(payload).rstrip(b"=").decode()
    return f"{encoded}.{password(KEY, GRANT).partition('.')[2]}"


VALID = password(KEY, GRANT)


@pytest.mark.parametrize(
    ("user", "secret"),
    [
        (GRANT.uid, ""),
        (GRANT.uid, "."),
        (GRANT.uid, "x"),
        (GRANT.uid, VALID[:-1]),
        (GRANT.uid, VALID + "="),
        (GRANT.uid, VALID.partition(".")[0]),
        (GRANT.uid, VALID.partition(".")[0] + "."),
        (GRANT.uid, "." + VALID.partition(".")[2]),
        (GRANT.uid, VALID.upper()),
        (GRANT.uid, VALID + "é"),
        (GRANT.uid, other(hosts=["*.com"])),
        (GRANT.uid, other(expires=int(NOW) * 2)),
        (GRANT.uid, password("another key of 16 characters", GRANT)),
        ("", VALID),
        ("another-uid", VALID),
        (GRANT.uid.upper(), VALID),
        (GRANT.uid, password(KEY, replace(GRANT, expires=int(NOW)))),
    ],
)
def test_nothing_else_is_a_grant(user: str, secret: str) -> None:
    with pytest.raises(InvalidGrantError) as error:
        verified(KEY, user, secret, NOW)
    assert len(secret) < 3 or secret not in str(error.value)


def test_a_grant_of_another_version_is_refused() -> None:
    import nanogrid.egress_grant as module

    payload = base64.urlsafe_b64encode(b'{"uid":"x"}').rstrip(b"=").decode()
    signed = f"{payload}.{module._signature(KEY, payload)}"
    with pytest.raises(InvalidGrantError, match="another version"):
        verified(KEY, "x", signed, NOW)


@pytest.mark.parametrize(
    "name",
    ["example.com", "a.b.example.com", "xn--bcher-kva.example", "1.example.com", "a-b.example2.io"],
)
def test_full_names_are_hosts(name: str) -> None:
    assert is_host(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "localhost",
        "example.com.",
        ".example.com",
        "a..example.com",
        "*.example.com",
        "-a.example.com",
        "a-.example.com",
        "A.example.com",
        "a_b.example.com",
        "bücher.example",
        "10.0.0.1",
        "8.8.8.8",
        "127.1",
        "0x7f.1",
        "example.0x7f",
        "1.2.3.4.5",
        "[::1]",
        "a.example.com\n",
        "a.example.com\0",
        f"{'a' * 64}.example.com",
        ".".join(["a" * 60] * 5),
    ],
)
def test_addresses_and_tricks_are_not_hosts(name: str) -> None:
    assert not is_host(name)


@pytest.mark.parametrize(
    ("host", "matches"),
    [
        ("api.example.com", True),
        ("a.example.org", True),
        ("a.b.example.org", True),
        ("example.org", False),
        ("evilexample.org", False),
        ("example.com", False),
        ("x.api.example.com", False),
        ("api.example.com.evil.net", False),
        ("a.example.org.evil.net", False),
    ],
)
def test_an_entry_matches_itself_or_what_is_below_it(host: str, matches: bool) -> None:
    assert host_within(host, GRANT.hosts) is matches
