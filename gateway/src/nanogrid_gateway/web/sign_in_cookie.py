"""The sign-in cookie: a caller's token, encrypted; and the CSRF token of the caller's forms.

The token is encrypted, not only hidden from scripts. A cookie that leaks from a browser's disk or a
proxy's log opens this page until it expires, but not the API server that accepts the token.
"""

import hashlib
import hmac
import struct
from typing import Final

import nacl.encoding
import nacl.exceptions
import nacl.secret

MAX_VALUE: Final = 3800  # browsers drop cookies over 4096 bytes, name and attributes included
_COOKIE_PURPOSE: Final = b"nanogrid-web-cookie-v1"
_FORM_PURPOSE: Final = b"nanogrid-web-form-v1"
_EXPIRES: Final = struct.Struct(">Q")
_ENCODER: Final = nacl.encoding.URLSafeBase64Encoder


class SignInCookie:
    """Encrypts and decrypts cookie values; ``ttl`` in seconds."""

    def __init__(self, key: bytes, ttl: int) -> None:
        self._box = nacl.secret.SecretBox(hmac.digest(key, _COOKIE_PURPOSE, hashlib.sha256))
        self._form_key = hmac.digest(key, _FORM_PURPOSE, hashlib.sha256)
        self.ttl = ttl

    def encrypt(self, token: str, now: float) -> str | None:
        """A value that holds the token for ``ttl`` from ``now`` (epoch seconds); None: too long."""
        plain = _EXPIRES.pack(int(now) + self.ttl) + token.encode()
        value = self._box.encrypt(plain, encoder=_ENCODER).decode().rstrip("=")
        return value if len(value) <= MAX_VALUE else None

    def decrypt(self, value: str, now: float) -> str | None:
        """The token; None if the value has another key, was changed, or has expired."""
        if not value or len(value) > MAX_VALUE:
            return None
        try:
            padded = value + "=" * (-len(value) % 4)
            plain = self._box.decrypt(padded.encode(), encoder=_ENCODER)
            (expires,) = _EXPIRES.unpack(plain[: _EXPIRES.size])
            return plain[_EXPIRES.size :].decode() if now < expires else None
        except (nacl.exceptions.CryptoError, ValueError, TypeError, struct.error):
            return None

    def csrf_token(self, credentials: str) -> str:
        """The token that a form must send back; only this key can derive it from credentials."""
        return hmac.new(self._form_key, credentials.encode(), hashlib.sha256).hexdigest()

    def is_csrf_token(self, token: str, credentials: str) -> bool:
        """Whether a form's token belongs to these credentials."""
        return hmac.compare_digest(token.encode(), self.csrf_token(credentials).encode())
