"""The session cookie: for clients that know only a host and the older, plain paths. Pure.

It names one session (namespace, name, uid) and an expiry, signed with a key derived from the
session key. It is no secret store: whoever has it may use that session until it expires or ends.
"""

import base64
import binascii
import hashlib
import hmac
import json
from dataclasses import dataclass

from nanogrid_gateway.router.objects import Address

PURPOSE = b"nanogrid-router-cookie-v1"


@dataclass(frozen=True, slots=True)
class Claim:
    """What a valid cookie says; ``expires`` in epoch seconds."""

    address: Address
    uid: str
    expires: int


class CookieJar:
    """Makes and reads cookies' values; ``ttl`` in seconds."""

    def __init__(self, session_key: bytes, ttl: int) -> None:
        self._key = hmac.new(session_key, PURPOSE, hashlib.sha256).digest()
        self._ttl = ttl

    def make(self, address: Address, uid: str, now: float) -> str:
        """A value that names a session, good for the jar's ttl from ``now`` (epoch seconds)."""
        body = _encode(json.dumps([*address, uid, int(now) + self._ttl]).encode())
        return f"{body}.{self._sign(body)}"

    def read(self, value: str, now: float) -> Claim | None:
        """What a value claims, or None if it is not ours, was changed, or has expired."""
        body, _, signature = value.partition(".")
        if not hmac.compare_digest(signature.encode(), self._sign(body).encode()):
            return None
        try:
            namespace, name, uid, expires = json.loads(_decode(body))
        except (ValueError, binascii.Error):
            return None
        return Claim(Address(namespace, name), uid, expires) if now < expires else None

    def fresh(self, claim: Claim, now: float) -> bool:
        """Whether more than half of its life is left, so that it need not be renewed."""
        return claim.expires - now > self._ttl / 2

    def _sign(self, body: str) -> str:
        return _encode(hmac.new(self._key, body.encode(), hashlib.sha256).digest())


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
