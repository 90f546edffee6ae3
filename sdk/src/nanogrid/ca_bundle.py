"""Certificates of CAs that a client trusts in addition to those of the system.

They come as text, because pods have read-only file systems: a file in memory has them, and only
this process can open it.
"""

import os
import re
from functools import cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import ssl

MAX_BYTES: Final = 32 * 1024  # the text is in the environment of two containers of each pod
SYSTEM_FILES: Final = ("/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/cert.pem")
_CERTIFICATE: Final = re.compile(
    r"-----BEGIN CERTIFICATE-----\s[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----"
)


@cache  # the operator asks for each container of each pod
def certificates(text: str) -> str:
    """The certificates of a PEM text, without what stands between them.

    Raises:
        ValueError: there is none, one is not valid, they are too long, or there is a private key.
    """
    import ssl  # late: it takes long, and most installations need no CA

    if "PRIVATE KEY" in text:
        raise ValueError("it has a private key: give the certificates of CAs only")
    found = "\n".join(_CERTIFICATE.findall(text))
    if not found:
        raise ValueError("it has no certificate: expected PEM text, -----BEGIN CERTIFICATE-----")
    if len(found) > MAX_BYTES:
        raise ValueError(f"it has {len(found)} bytes: give at most {MAX_BYTES}")
    try:
        ssl.create_default_context(cadata=found)
    except ssl.SSLError as e:
        raise ValueError(f"a certificate is not valid: {e.reason or e}") from None
    return found


@cache
def trusted_file(text: str) -> str:
    """The path of a file with the system's CAs and these; it lives as long as this process."""
    import ssl

    default = ssl.get_default_verify_paths().cafile
    system = next((p for p in (default, *SYSTEM_FILES) if p and os.path.isfile(p)), os.devnull)
    descriptor = os.memfd_create("ca-bundle")
    with open(system, "rb") as known, open(descriptor, "wb", closefd=False) as file:
        file.write(known.read() + b"\n" + text.encode() + b"\n")
    return f"/proc/self/fd/{descriptor}"


def client_context(text: str) -> "ssl.SSLContext":
    """Settings of TLS for a client that trusts the system's CAs and these.

    Raises:
        ValueError: see :func:`certificates`.
    """
    import ssl

    context = ssl.create_default_context()
    if text:
        context.load_verify_locations(cadata=certificates(text))
    return context
