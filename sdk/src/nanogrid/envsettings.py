"""Settings out of environment variables: a dataclass whose fields know their variable and meaning.

@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
port: int = env("NANOGRID_PORT", 8080, "port of the API")

Settings(**values(Settings, os.environ))
"""

import math
from collections.abc import Mapping
from dataclasses import Field, field, fields
from typing import Any, Final

LOG_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")
_SECRET: Final = ("KEY", "PASSWORD", "URL")


class SettingsError(ValueError):
    """An environment variable is missing or malformed; the message names it."""


def env(
    variable: str, default: Any, doc: str, *, choices: tuple[str, ...] = (), zero: bool = False
) -> Any:
    """A field.

    Args:
        variable: its environment variable; what names a key or a URL is kept out of the repr.
        default: its value when the variable is absent or empty; its type is the field's.
        doc: meaning and unit.
        choices: the only values, in whatever case.
        zero: whether a number may be 0; none is negative or infinite.
    """
    told = {"env": variable, "doc": doc, "choices": choices, "zero": zero}
    shown = not any(word in variable for word in _SECRET)
    return field(default=default, repr=shown, metadata=told)


def values(cls: Any, environ: Mapping[str, str]) -> dict[str, Any]:
    """What the environment says, by field; absent and empty variables are left out.

    Raises:
        SettingsError: a value has the wrong type, or is none of its choices.
    """
    given = ((f, environ.get(f.metadata["env"], "")) for f in fields(cls))
    return {f.name: _value(f, text) for f, text in given if text}


def help_text(cls: Any) -> str:
    """All settings, one a line, for ``--help``."""
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
