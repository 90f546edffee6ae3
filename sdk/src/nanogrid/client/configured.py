"""Values of the configuration that go into requests, checked where their origin is known. Pure.

The HTTP library answers a token with a line end inside by a traceback, which does not name the file
or the variable that has it. No message shows a token.
"""

import re
from typing import Any, Final
from urllib.parse import urlsplit

from nanogrid.client.errors import InvalidRequest, NotConfigured
from nanogrid.visible_text import printable

_NAMESPACE: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_COPY: Final = "Copy it again, as one line."
_URL: Final = "Give a URL such as https://HOST:PORT."


def header_text(value: Any, origin: str) -> str:
    """A token or a key, without spaces and line ends around it; empty without a value.

    Args:
        value: as the configuration has it.
        origin: which value of which file or variable it is, for the message.

    Raises:
        NotConfigured: an HTTP header cannot have it.
    """
    if isinstance(value, dict | list | bool):
        raise NotConfigured(f"{origin} is not a text.", _COPY)
    text = "" if value is None else str(value).strip()
    for place, character in enumerate(text, 1):
        if not " " <= character <= "~":
            fault = "a line end" if character in "\r\n" else f"the character {character!a}"
            raise NotConfigured(f"{origin} has {fault} in place {place}.", _COPY)
    return text


def check_exact(value: Any, origin: str) -> None:
    """Do nothing for a value that another library reads by itself, and sends as it is.

    Raises:
        NotConfigured: an HTTP header cannot have it, or it has spaces or line ends around it.
    """
    if header_text(value, origin) != (value or ""):
        raise NotConfigured(f"{origin} has a space or a line end at its start or end.", _COPY)


def server_url(value: Any, origin: str) -> str:
    """The URL of a server, with its scheme in small letters and without a slash at its end.

    Raises:
        NotConfigured: it is not an HTTP URL.
    """
    scheme, marker, rest = str(value).strip().partition("://")
    text = f"{scheme.lower() if marker else scheme}{marker}{rest}"
    if fault := _url_fault(text):
        raise NotConfigured(f"{origin} is '{shown_url(text)}': {fault}.", _URL)
    return text.rstrip("/")


def shown_url(url: str) -> str:
    """A URL for messages: without user and password, and with characters that can be seen."""
    begin, marker, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return printable(f"{begin}{marker}{host.rpartition('@')[2]}{slash}{path}")


def namespace_name(value: Any, origin: str) -> str:
    """The name of a namespace.

    Raises:
        InvalidRequest: no namespace can have it; in a path it could lead to another object.
    """
    text = str(value).strip()
    if _NAMESPACE.fullmatch(text) is None:
        hint = "Use the name of a namespace: up to 63 of a-z, 0-9 and -."
        message = f"{origin} is '{printable(text)}', which no namespace can have as its name."
        raise InvalidRequest(message, hint)
    return text


def _url_fault(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        return "it does not begin with http:// or https://"
    if any(character.isspace() or not character.isprintable() for character in text):
        return "it has a space or a line end"
    try:
        parts = urlsplit(text)
        valid = bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        return str(error)
    if "?" in text or "#" in text:  # copied from a browser; each path would become a part of it
        return "it has a query or a fragment"
    return "" if valid else "it names no host and port"
