"""Settings from environment variables: each field of a dataclass has its variable and meaning.

Example::

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Settings:
        port: int = env("NANOGRID_PORT", 8080, "port of the API")

    Settings(**values(Settings, os.environ))
"""

import math
from collections.abc import Mapping
from dataclasses import Field, field, fields
from typing import Any, Final

from nanogrid.ca_bundle import certificates

_SECRET: Final = ("KEY", "PASSWORD", "URL", "OTLP_ENDPOINT")


class SettingsError(ValueError):
    """An environment variable is missing or malformed; the message names it."""


def env(
    variable: str, default: Any, doc: str, *, choices: tuple[str, ...] = (), zero: bool = False
) -> Any:
    """A field that is read from an environment variable.

    Args:
        variable: name of the variable. Values of keys, passwords and URLs are not in the repr.
        default: value when the variable is absent or empty; its type is the type of the field.
        doc: meaning and unit.
        choices: the allowed values; upper and lower case are equal.
        zero: whether a number may be 0. No number may be negative or infinite.
    """
    metadata = {"env": variable, "doc": doc, "choices": choices, "zero": zero}
    secret = any(word in variable for word in _SECRET)
    return field(default=default, repr=not secret, metadata=metadata)


def values(cls: Any, environ: Mapping[str, str]) -> dict[str, Any]:
    """Values of the environment by field, without absent and empty variables.

    Raises:
        SettingsError: a value has the wrong type, or is not one of its choices.
    """
    given = ((f, environ.get(f.metadata["env"], "")) for f in fields(cls))
    return {f.name: _value(f, text) for f, text in given if text}


def check_ca_bundle(variable: str, text: str) -> None:
    """Refuse a PEM text of CAs that no client can use.

    Raises:
        SettingsError: it has no certificate, or one that is not valid.
    """
    try:
        if text:
            certificates(text)
    except ValueError as e:
        raise SettingsError(f"{variable}: {e}") from None


def help_text(cls: Any) -> str:
    """All settings, one per line, for ``--help``."""
    width = max(len(f.metadata["env"]) for f in fields(cls))
    return "\n".join(
        f"  {f.metadata['env']:{width}}  {f.metadata['doc']}"
        + (f" (default {f.default})" if f.default != "" else "")
        for f in fields(cls)
    )


def _value(known: "Field[Any]", text: str) -> Any:
    name, choices, zero = (known.metadata[key] for key in ("env", "choices", "zero"))
    default: Any = known.default
    kind: type = type(default)
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise SettingsError(f"{name}={text!r}: expected true or false")
        return text.lower() == "true"
    if choices:
        found = next((c for c in choices if c.lower() == text.lower()), None)
        if found is None:
            raise SettingsError(f"{name}={text!r}: expected one of {', '.join(choices)}")
        return found
    try:
        value = kind(text)
    except ValueError:
        raise SettingsError(f"{name}={text!r}: expected {kind.__name__}") from None
    if kind in (int, float) and not (0 <= value < math.inf and (value or zero)):
        least = "of at least 0" if zero else "above 0"
        raise SettingsError(f"{name}={text}: expected a number {least}")
    return value
