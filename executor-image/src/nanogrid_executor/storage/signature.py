"""Signature Version 4 of AWS for one POST of a form, as STS takes it. Pure.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html
"""

import hashlib
import hmac
import time
from typing import Final, NamedTuple

FORM: Final = "application/x-www-form-urlencoded; charset=utf-8"
ALGORITHM: Final = "AWS4-HMAC-SHA256"


class Keys(NamedTuple):
    """Credentials. ``expires``: seconds since the epoch; None if they do not expire."""

    access_key: str
    secret_key: str
    token: str = ""
    expires: float | None = None


def signed_headers(
    host: str, body: bytes, keys: Keys, *, region: str, service: str, now: float
) -> dict[str, str]:
    """The headers of a signed POST to the path ``/``.

    Args:
        host: value of the Host header, with the port if it is not that of the scheme.
        body: the form.
        keys: what to sign with.
        region: of the server.
        service: name of the service, ``sts``.
        now: seconds since the epoch.
    """
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    headers = {"content-type": FORM, "host": host, "x-amz-date": moment}
    if keys.token:
        headers["x-amz-security-token"] = keys.token
    named = ";".join(headers)  # in alphabetical order
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    request = f"POST\n/\n\n{lines}\n{named}\n{hashlib.sha256(body).hexdigest()}"
    scope = f"{moment[:8]}/{region}/{service}/aws4_request"
    digest = hashlib.sha256(request.encode()).hexdigest()
    key = f"AWS4{keys.secret_key}".encode()
    for part in scope.split("/"):
        key = _hmac(key, part)
    signature = _hmac(key, f"{ALGORITHM}\n{moment}\n{scope}\n{digest}").hex()
    credential = f"{keys.access_key}/{scope}"
    headers["authorization"] = (
        f"{ALGORITHM} Credential={credential}, SignedHeaders={named}, Signature={signature}"
    )
    return headers


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()
