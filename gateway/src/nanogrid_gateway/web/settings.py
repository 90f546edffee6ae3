"""The web page's own settings; all others are the API's."""

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from nanogrid.envsettings import SettingsError
from nanogrid_gateway.api.settings import variable

KEY: Final = "web_key"
HOURS: Final = "web_sign_in_hours"
DEFAULT_HOURS: Final = 8.0
LONGEST_HOURS: Final = 168.0
MIN_KEY_BYTES: Final = 16  # a shorter key could be guessed


@dataclass(frozen=True, slots=True)
class WebSettings:
    """``key`` seals the cookies, the same in all replicas; a sign-in holds for ``seconds``."""

    key: bytes
    seconds: int

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> "WebSettings":
        """Read the environment; without a key each process makes its own.

        Raises:
            SettingsError: a value cannot be used; the message names its variable.
        """
        key = environ.get(variable(KEY), "").encode() or secrets.token_bytes(32)
        if len(key) < MIN_KEY_BYTES:
            raise SettingsError(f"{variable(KEY)}: needs at least {MIN_KEY_BYTES} bytes")
        text = environ.get(variable(HOURS), "") or str(DEFAULT_HOURS)
        try:
            hours = float(text)
        except ValueError:
            hours = 0.0
        if not 0 < hours <= LONGEST_HOURS:
            said = f"{variable(HOURS)}: {text!r} is no number of hours, at most {LONGEST_HOURS:g}"
            raise SettingsError(said)
        return cls(key=key, seconds=round(hours * 3600))
