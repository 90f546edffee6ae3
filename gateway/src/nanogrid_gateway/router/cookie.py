"""The session cookie, for clients that know only a host and the older, plain paths. Pure.

It names one session (namespace, name, uid) and an expiry, signed with a key derived from the
session key. It is not encrypted: its holder may use that session until the cookie expires or the
session ends.
"""

import base64
import binascii
import hashlib
import hmac
import json
from dataclasses import dataclass

from nanogrid_gateway.router.sessions import Address

PURPOSE = b"nanogrid-router-cookie-v1"


@dataclass(frozen=True, slots=True)
class SessionCookie:
    """The content of a valid cookie; ``expires`` in epoch seconds."""

    address: Address
    uid: str
    expires: int


class CookieSigner:
    """Signs and verifies cookie values; ``ttl`` in seconds."""

    def __init__(self, session_key: bytes, ttl: int) -> None:
        self._key = hmac.new(session_key, PURPOSE, hashlib.sha256).digest()
        self._ttl = ttl

    def sign(self, address: Address, uid: str, now: float) -> str:
        """A value that names a session and expires ``ttl`` after ``now`` (epoch seconds)."""
        body = _encode(json.dumps([*address, uid, int(now) + self._ttl]).encode())
        return f"{body}.{self._signature(body)}"

    def verify(self, value: str, now: float) -> SessionCookie | None:
        """The content of a value; None if the signature is wrong or the cookie has expired."""
        body, _, signature = value.partition(".")
        if not hmac.compare_digest(signature.encode(), self._signature(body).encode()):
            return None
        try:
            namespace, name, uid, expires = json.loads(_decode(body))
        except (ValueError, binascii.Error):
            return None
        return SessionCookie(Address(namespace, name), uid, expires) if now < expires else None

    def is_fresh(self, cookie: SessionCookie, now: float) -> bool:
        """Whether more than half of the cookie's lifetime remains, so that it needs no renewal."""
        return cookie.expires - now > self._ttl / 2

    def _signature(self, body: str) -> str:
        return _encode(hmac.new(self._key, body.encode(), hashlib.sha256).digest())


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
