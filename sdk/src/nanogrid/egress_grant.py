"""The allow-list of one job, signed: the operator writes it, the egress proxy reads it.

The proxy has no state and asks no server: the credentials in the URL of the proxy contain the
allow-list. The user name is the job's uid. The password is the grant and its signature. Pure,
standard library only.
"""

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Final

_CONTEXT: Final = b"egress:"  # the key signs nothing else in this form
_LABEL: Final = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_NAME: Final = re.compile(rf"({_LABEL}\.)+{_LABEL}")
# A name whose last label is a number is an IPv4 address for some resolvers: 127.1, 0x7f.1
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_MAX_NAME: Final = 253


class InvalidGrantError(ValueError):
    """The credentials are not those of a grant; the message has no part of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What one job may reach through the proxy.

    Attributes:
        namespace: of the job.
        job: its name.
        uid: its uid.
        hosts: names, and ``*.example.com`` for every name below example.com.
        expires: end of the validity, in seconds since the epoch.
        request_id: of the job, for logs.
        attempt: of the job, for logs.
    """

    namespace: str
    job: str
    uid: str
    hosts: tuple[str, ...]
    expires: int
    request_id: str = ""
    attempt: int = 0


_FIELDS: Final = frozenset(each.name for each in fields(Grant))


def password(key: str, grant: Grant) -> str:
    """The password of a grant. It needs no escaping in a URL."""
    payload = _encoded(json.dumps(asdict(grant), separators=(",", ":")).encode())
    return f"{payload}.{_signature(key, payload)}"


def proxy_url(url: str, key: str, grant: Grant) -> str:
    """The URL of the proxy with the credentials of a grant."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{grant.uid}:{password(key, grant)}@{rest}"


def verified(key: str, user: str, secret: str, now: float) -> Grant:
    """The grant of a user name and password.

    Raises:
        InvalidGrantError: The signature is wrong, the user is another one, or it has expired.
    """
    payload, _, signature = secret.partition(".")
    if not hmac.compare_digest(signature.encode(), _signature(key, payload).encode()):
        raise InvalidGrantError("the credentials are not valid")
    try:
        found = json.loads(base64.b64decode(payload + "=" * (-len(payload) % 4), altchars=b"-_"))
        # A proxy of this version serves jobs of a newer operator too, during an upgrade.
        known = {name: value for name, value in found.items() if name in _FIELDS}
        grant = Grant(**{**known, "hosts": tuple(found["hosts"])})
    except (AttributeError, binascii.Error, KeyError, TypeError, ValueError):
        raise InvalidGrantError("the credentials are of another version") from None
    if grant.uid != user:
        raise InvalidGrantError("the credentials are of another job")
    if grant.expires <= now:
        raise InvalidGrantError("the credentials have expired")
    return grant


def is_host(name: str) -> bool:
    """Whether a text is a full name in lower case: no address, no wildcard, no dot at the end."""
    if len(name) > _MAX_NAME or not _NAME.fullmatch(name):
        return False
    return not _NUMBER.fullmatch(name.rpartition(".")[2])


def host_within(host: str, entries: Iterable[str]) -> bool:
    """Whether an entry matches each name that ``host`` matches.

    Args:
        host: a name, or a pattern such as ``*.example.com``.
        entries: names and patterns. ``*.example.com`` does not match example.com itself.
    """
    return any(_matches(host, entry) for entry in entries)


def _matches(host: str, entry: str) -> bool:
    if entry.startswith("*."):
        return host.removeprefix("*.").endswith(entry[1:]) or host == entry
    return host == entry


def _signature(key: str, payload: str) -> str:
    return _encoded(hmac.new(key.encode(), _CONTEXT + payload.encode(), hashlib.sha256).digest())


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
