"""Reads the head of a CONNECT request: strictly, because it decides who reaches what. Pure.

https://www.rfc-editor.org/rfc/rfc9110#name-connect
"""

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import Final

from nanogrid_gateway.egress.answers import Refused
from nanogrid_gateway.metrics import EgressRefusal

HEAD_BYTES: Final = 32 * 1024  # the credentials contain the allow-list
END: Final = b"\r\n\r\n"

_REQUEST: Final = re.compile(r"([A-Z]{1,20}) (\S+) HTTP/1\.[01]")
_TARGET: Final = re.compile(r"([A-Za-z0-9.-]{1,253}):([1-9][0-9]{0,4})")
_HEADER: Final = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e]*)")
_AUTHORIZATION: Final = "proxy-authorization"
_BODY: Final = ("content-length", "transfer-encoding")


@dataclass(frozen=True, slots=True)
class ConnectRequest:
    """A request for a tunnel; the credentials are not checked, and not in the repr.

    Attributes:
        host: the name in lower case.
        port: the port.
        user: the name in the credentials.
        secret: the password in the credentials.
    """

    host: str
    port: int
    user: str = field(repr=False)
    secret: str = field(repr=False)


def parse(head: bytes) -> ConnectRequest:
    """The request of a head that ends with an empty line.

    Raises:
        Refused: the head is malformed, is no CONNECT request, or has no credentials.
    """
    try:
        first, *rest = head.removesuffix(END).decode("ascii").split("\r\n")
    except UnicodeDecodeError:
        raise Refused(400, "Malformed request: not ASCII", EgressRefusal.MALFORMED) from None
    line = _REQUEST.fullmatch(first)
    if line is None:
        raise Refused(400, "Malformed request line", EgressRefusal.MALFORMED)
    method, target = line.groups()
    if method != "CONNECT":
        raise Refused(
            405, "Only CONNECT is allowed: use https URLs", EgressRefusal.METHOD_NOT_ALLOWED
        )
    place = _TARGET.fullmatch(target)
    if place is None:
        raise Refused(400, "Malformed target: expected NAME:443", EgressRefusal.MALFORMED)
    host, port = place.groups()
    user, secret = _credentials(_headers(rest))
    return ConnectRequest(host.lower(), int(port), user, secret)


def _headers(lines: list[str]) -> dict[str, str]:
    """The headers that count here, by lower-case name."""
    found: dict[str, str] = {}
    for line in lines:
        header = _HEADER.fullmatch(line)
        if header is None:
            raise Refused(400, "Malformed header", EgressRefusal.MALFORMED)
        name, value = header[1].lower(), header[2].strip()
        if name in _BODY and value != "0":
            raise Refused(400, "Malformed request: CONNECT has no body", EgressRefusal.MALFORMED)
        if name == _AUTHORIZATION and name in found:
            raise Refused(
                400, "Malformed request: two Proxy-Authorization headers", EgressRefusal.MALFORMED
            )
        found[name] = value
    return found


def _credentials(headers: dict[str, str]) -> tuple[str, str]:
    scheme, _, text = headers.get(_AUTHORIZATION, "").partition(" ")
    if scheme.lower() != "basic":
        raise Refused(
            407, "Credentials needed: use the URL in HTTPS_PROXY", EgressRefusal.UNAUTHORIZED
        )
    try:
        decoded = base64.b64decode(text.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise Refused(407, "Malformed credentials", EgressRefusal.UNAUTHORIZED) from None
    user, _, secret = decoded.partition(":")
    return user, secret
