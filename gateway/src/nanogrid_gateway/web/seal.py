"""The sign-in cookie's value: a caller's token, sealed, and the word that its forms must carry.

The token is encrypted, not only hidden from scripts: a cookie that leaks from a browser's disk or a
proxy's log opens this page until it expires, and never the API server that the token is good for.
"""

import hashlib
import hmac
import struct
from typing import Final

import nacl.encoding
import nacl.exceptions
import nacl.secret

MAX_VALUE: Final = 3800  # browsers drop cookies beyond 4096 bytes with name and attributes
_SEAL: Final = b"nanogrid-web-cookie-v1"
_FORM: Final = b"nanogrid-web-form-v1"
_EXPIRES: Final = struct.Struct(">Q")
_ENCODER: Final = nacl.encoding.URLSafeBase64Encoder


class Seal:
    """Makes and reads cookie values; ``ttl`` in seconds."""

    def __init__(self, key: bytes, ttl: int) -> None:
        self._box = nacl.secret.SecretBox(hmac.digest(key, _SEAL, hashlib.sha256))
        self._form_key = hmac.digest(key, _FORM, hashlib.sha256)
        self.ttl = ttl

    def close(self, token: str, now: float) -> str | None:
        """A value that holds the token until ``now`` (epoch seconds) + ttl; None: too long."""
        plain = _EXPIRES.pack(int(now) + self.ttl) + token.encode()
        value = self._box.encrypt(plain, encoder=_ENCODER).decode().rstrip("=")
        return value if len(value) <= MAX_VALUE else None

    def open(self, value: str, now: float) -> str | None:
        """The token, or None if the value is not ours, was changed, or has expired."""
        if not value or len(value) > MAX_VALUE:
            return None
        try:
            padded = value + "=" * (-len(value) % 4)
            plain = self._box.decrypt(padded.encode(), encoder=_ENCODER)
            (expires,) = _EXPIRES.unpack(plain[: _EXPIRES.size])
            return plain[_EXPIRES.size :].decode() if now < expires else None
        except (nacl.exceptions.CryptoError, ValueError, TypeError, struct.error):
            return None

    def form_word(self, credentials: str) -> str:
        """What a form must send back: nobody but us can make it for these credentials."""
        return hmac.new(self._form_key, credentials.encode(), hashlib.sha256).hexdigest()

    def is_form_word(self, word: str, credentials: str) -> bool:
        """Whether a form's word belongs to these credentials."""
        return hmac.compare_digest(word.encode(), self.form_word(credentials).encode())
