"""The web page's own settings; all others belong to the API."""

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from nanogrid.settings import SettingsError
from nanogrid_gateway.api.settings import variable

KEY: Final = "web_key"
HOURS: Final = "web_sign_in_hours"
ALL_NAMESPACES: Final = "web_all_namespaces"
DEFAULT_HOURS: Final = 8.0
MAX_HOURS: Final = 168.0
MIN_KEY_BYTES: Final = 16  # a shorter key could be guessed


@dataclass(frozen=True, slots=True)
class WebSettings:
    """The page's settings.

    Attributes:
        key: encrypts the cookies of all replicas.
        seconds: that a sign-in is valid.
        all_namespaces: whether the page shows all namespaces in which its callers may list runs.
    """

    key: bytes
    seconds: int
    all_namespaces: bool = False

    @classmethod
    def from_env(
        cls, environ: Mapping[str, str] = os.environ, *, auth_mode: str = "kubernetes"
    ) -> "WebSettings":
        """Read the environment; without a key each process generates its own.

        Args:
            environ: the variables.
            auth_mode: of the API.

        Raises:
            SettingsError: a value is invalid; the message names its variable.
        """
        everywhere = environ.get(variable(ALL_NAMESPACES), "") or "false"
        if everywhere not in ("true", "false"):
            raise SettingsError(f"{variable(ALL_NAMESPACES)}: {everywhere!r} is not true or false")
        if everywhere == "true" and auth_mode != "kubernetes":
            raise SettingsError(
                f"{variable(ALL_NAMESPACES)}=true needs {variable('auth_mode')}=kubernetes: with "
                f"{auth_mode} nothing says which namespaces a caller may see"
            )
        key = environ.get(variable(KEY), "").encode() or secrets.token_bytes(32)
        if len(key) < MIN_KEY_BYTES:
            raise SettingsError(f"{variable(KEY)}: needs at least {MIN_KEY_BYTES} bytes")
        text = environ.get(variable(HOURS), "") or str(DEFAULT_HOURS)
        try:
            hours = float(text)
        except ValueError:
            hours = 0.0
        if not 0 < hours <= MAX_HOURS:
            raise SettingsError(
                f"{variable(HOURS)}: {text!r} is not a number of hours above 0 and up to "
                f"{MAX_HOURS:g}"
            )
        return cls(key=key, seconds=round(hours * 3600), all_namespaces=everywhere == "true")
