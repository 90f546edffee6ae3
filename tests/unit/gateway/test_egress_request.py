"""The head of a CONNECT request is read strictly."""

import base64

import pytest

from nanogrid.settings import SettingsError
from nanogrid_gateway.egress.answers import Refused, answer
from nanogrid_gateway.egress.request import parse
from nanogrid_gateway.egress.settings import EgressSettings

pytestmark = pytest.mark.security

BASIC = "Basic " + base64.b64encode(b"uid:secret").decode()
AUTHORIZATION = f"Proxy-Authorization: {BASIC}"
GOOD = "CONNECT api.example.com:443 HTTP/1.1"


def head(*lines: str) -> bytes:
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def test_a_request_names_host_port_and_credentials() -> None:
    for name in ("Proxy-Authorization", "PROXY-AUTHORIZATION", "proxy-authorization"):
        lines = ("CONNECT API.Example.com:443 HTTP/1.0", "Host: other:1", f"{name}:  {BASIC} ")
        found = parse(head(*lines))
        assert (found.host, found.port) == ("api.example.com", 443)
        assert (found.user, found.secret) == ("uid", "secret")
        assert "secret" not in repr(found)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "CONNECT",
        "CONNECT api.example.com:443",
        "connect api.example.com:443 HTTP/1.1",
        " CONNECT api.example.com:443 HTTP/1.1",
        "CONNECT  api.example.com:443 HTTP/1.1",
        "CONNECT\tapi.example.com:443 HTTP/1.1",
        "CONNECT api.example.com:443 HTTP/1.1 ",
        "CONNECT api.example.com:443 HTTP/2.0",
        "CONNECT api.example.com:443 HTTP/1.11",
        "CONNECT api.example.com:443 x HTTP/1.1",
        "CONNECT api.example.com HTTP/1.1",
        "CONNECT api.example.com: HTTP/1.1",
        "CONNECT :443 HTTP/1.1",
        "CONNECT api.example.com:0443 HTTP/1.1",
        "CONNECT api.example.com:+443 HTTP/1.1",
        "CONNECT api.example.com:4430000 HTTP/1.1",
        "CONNECT api.example.com:443:443 HTTP/1.1",
        "CONNECT api.example.com:443/ HTTP/1.1",
        "CONNECT api.example.com:443#x HTTP/1.1",
        "CONNECT https://api.example.com:443 HTTP/1.1",
        "CONNECT //api.example.com:443 HTTP/1.1",
        "CONNECT a@api.example.com:443 HTTP/1.1",
        "CONNECT api.example.com%00.evil.net:443 HTTP/1.1",
        "CONNECT api.example.com\0.evil.net:443 HTTP/1.1",
        "CONNECT api%2eexample.com:443 HTTP/1.1",
        "CONNECT api.example.com\\.evil.net:443 HTTP/1.1",
        "CONNECT *.example.com:443 HTTP/1.1",
        "CONNECT [::1]:443 HTTP/1.1",
        "CONNECT ::1:443 HTTP/1.1",
        "CONNECT [::ffff:127.0.0.1]:443 HTTP/1.1",
        "CONNECT b\u00fccher.example:443 HTTP/1.1",
        "CONNECT api.example.com:\u00b2443 HTTP/1.1",
        "CONNECT api.example.com:443 HTTP/1.1\nHost: x",
        f"CONNECT {'a' * 300}.com:443 HTTP/1.1",
    ],
)
def test_a_hostile_request_line_is_malformed(line: str) -> None:
    with pytest.raises(Refused) as error:
        parse(head(line, AUTHORIZATION))
    assert error.value.status == 400


@pytest.mark.parametrize(
    "header",
    [
        " folded: x",
        "\tfolded",
        "no colon",
        ": no name",
        "space before : colon",
        "Null: a\0b",
        "Return: a\rb",
        "Feed: a\nb",
        "Content-Length: 5",
        "Transfer-Encoding: chunked",
        AUTHORIZATION,
    ],
)
def test_a_hostile_header_is_malformed(header: str) -> None:
    parse(head(GOOD, AUTHORIZATION, "Content-Length: 0", "User-Agent: x"))  # the positive control
    with pytest.raises(Refused) as error:
        parse(head(GOOD, AUTHORIZATION, header))
    assert error.value.status == 400


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_only_connect_is_allowed(method: str) -> None:
    with pytest.raises(Refused) as error:
        parse(head(f"{method} http://api.example.com/ HTTP/1.1", AUTHORIZATION))
    assert error.value.status == 405
    assert b"\r\nAllow: CONNECT\r\n" in answer(error.value)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        ["Proxy-Authorization:"],
        ["Proxy-Authorization: Bearer x"],
        ["Proxy-Authorization: Basic !!!"],
        ["Proxy-Authorization: Basic /w=="],
        [f"Authorization: {BASIC}"],
    ],
)
def test_credentials_are_needed(headers: list[str]) -> None:
    with pytest.raises(Refused) as error:
        parse(head(GOOD, *headers))
    assert error.value.status == 407
    assert b"\r\nProxy-Authenticate: Basic " in answer(error.value)


def test_the_settings_need_a_key_and_networks() -> None:
    key = {"NANOGRID_EGRESS_KEY": "x" * 16}
    assert EgressSettings.from_env(key).port == 3128
    with pytest.raises(SettingsError, match="15 bytes"):
        EgressSettings.from_env({"NANOGRID_EGRESS_KEY": "x" * 15})
    with pytest.raises(SettingsError, match="NANOGRID_DENIED_CIDRS"):
        EgressSettings.from_env(key | {"NANOGRID_DENIED_CIDRS": "203.0.113.7/24"})
    assert "xxxx" not in repr(EgressSettings.from_env(key))
