"""Asks STS, or EKS Pod Identity, for temporary credentials: one request, one try.

``http.client``, because the image has no other client for such requests. It follows no redirect,
which would carry a token elsewhere.
"""

import html
import http.client
import json
import os
import re
import ssl
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlencode, urlsplit

from nanogrid import names
from nanogrid.assumed_role import AssumedRole, first_line
from nanogrid.ca_bundle import client_context
from nanogrid.storage_causes import UNSUITABLE, Cause, assume_cause, cause
from nanogrid_executor.storage.errors import StorageError
from nanogrid_executor.storage.signature import FORM, Keys, signed_headers

VERSION: Final = "2011-06-15"
ANSWER_BYTES: Final = 64 * 1024
# The standard variables of AWS clients. Webhooks of EKS set those with files.
ENV_KEYS: Final = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
ENV_TOKEN: Final = "AWS_SESSION_TOKEN"  # noqa: S105 a name
ENV_ROLE: Final = ("AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE")
ENV_AGENT: Final = (
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
)
_TAG: Final = "<{0}>([^<]*)</{0}>"


class Refused(Exception):
    """There is no answer, or it is no success; ``status`` is 0 without an answer."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


def assume(role: AssumedRole, seconds: float) -> Keys:
    """New credentials of a role, by the pod's own credentials.

    Args:
        role: the role.
        seconds: timeout of each step of a request.

    Raises:
        StorageError: why there are none.
    """
    where = f"cannot assume {role.arn}"
    try:
        own = _own_keys(role, seconds)
    except Refused as e:
        known = assume_cause(0, e.code) if not e.status else cause(e.status, e.code, str(e))
        raise _failure(where, e, known) from e
    try:
        return _ask(role, {"Action": "AssumeRole", **role.request()}, own, seconds)
    except Refused as e:
        raise _failure(where, e, assume_cause(e.status, e.code, str(e))) from e


def _failure(where: str, refused: Refused, known: Cause) -> StorageError:
    code = refused.code or f"HTTP status {refused.status}"
    said = f"{code}: {refused}" if refused.status else str(refused)
    hint = f" ({known.hint})" if known.hint else ""
    reason = known.reason
    return StorageError(reason, f"{where}: {said}{hint}", retryable=known.retryable)


def _own_keys(role: AssumedRole, seconds: float) -> Keys:
    """What the pod has: static keys, a token for STS (IRSA), or one for EKS Pod Identity.

    Raises:
        Refused: it has nothing, or gets nothing for it.
    """
    access_key, secret_key = (os.environ.get(name) or "" for name in ENV_KEYS)
    if access_key and secret_key:
        token = os.environ.get(ENV_TOKEN) or ""
        if not _visible(access_key, token):
            raise Refused(0, "InvalidAccessKeyId", UNSUITABLE)
        return Keys(access_key, secret_key, token)
    own_role, token_file = (os.environ.get(name) or "" for name in ENV_ROLE)
    if own_role and token_file:
        asked = {"Action": "AssumeRoleWithWebIdentity", "RoleArn": own_role}
        asked |= {"RoleSessionName": role.session, "WebIdentityToken": _token(token_file)}
        return _ask(role, asked, None, seconds)
    address, token_file = (os.environ.get(name) or "" for name in ENV_AGENT)
    if address and token_file:
        return _ask_agent(address, _token(token_file), seconds)
    raise Refused(0, "NoCredentialsError", "the pod has no credentials")


def _token(path: str) -> str:
    try:
        token = Path(path).read_text().strip()
    except OSError as e:
        raise Refused(0, "NoCredentialsError", f"{path} cannot be read: {e.strerror}") from e
    except UnicodeDecodeError:
        token = ""
    if not token or not _visible(token):
        raise Refused(0, "NoCredentialsError", f"{path} has no token")
    return token


def _ask(role: AssumedRole, asked: dict[str, str], keys: Keys | None, seconds: float) -> Keys:
    """POST a request to STS; without keys it is not signed.

    Raises:
        Refused: STS did not give credentials.
    """
    body = urlencode({**asked, "Version": VERSION}).encode()
    host = urlsplit(role.endpoint).netloc
    headers = {"content-type": FORM, "host": host}
    if keys is not None:
        headers = signed_headers(
            host, body, keys, region=role.region, service="sts", now=time.time()
        )
    status, text = _send("POST", role.endpoint, "/", headers, body, seconds)
    if status != 200:
        # Only the first line: those below it can repeat the signed request, with its token.
        raise Refused(status, _first("Code", text), first_line(_first("Message", text)))
    fields = ("AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration")
    return _keys([_first(name, text) for name in fields], role.endpoint)


def _ask_agent(address: str, token: str, seconds: float) -> Keys:
    """GET credentials from the agent of EKS Pod Identity on the node; no proxy reaches it.

    Raises:
        Refused: it did not give credentials.
    """
    url = urlsplit(address)
    path = f"{url.path or '/'}?{url.query}" if url.query else url.path or "/"
    headers = {"host": url.netloc, "authorization": token}
    try:
        status, text = _send("GET", address, path, headers, b"", seconds, direct=True)
    except Refused as e:
        raise Refused(0, "NoCredentialsError", str(e)) from e
    if status >= 500:
        raise Refused(status, "ServiceUnavailable", f"{url.netloc} answers {first_line(text)}")
    if status != 200:
        said = f"{url.netloc} answers {status}: {first_line(text)}"
        raise Refused(0, "NoCredentialsError", said)
    try:
        given = json.loads(text)
        found = [str(given[k]) for k in ("AccessKeyId", "SecretAccessKey", "Token", "Expiration")]
    except (ValueError, KeyError, TypeError):
        found = []
    return _keys(found, address)


def _keys(found: list[str], server: str) -> Keys:
    """Credentials of four texts: key, secret key, token and end.

    Raises:
        Refused: one of them is missing, the end is no time, or it is over.
    """
    try:
        access_key, secret_key, token, end = found
        moment = datetime.fromisoformat(end)
        expires = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        access_key = ""
    # obstore panics at a key that is no header.
    if not access_key or not secret_key or not token or not _visible(access_key, token):
        raise Refused(404, "NotImplemented", f"the answer of {server} has no credentials")
    if expires <= time.time():
        raise Refused(200, "RequestExpired", f"the credentials of {server} ended at {end}")
    return Keys(access_key, secret_key, token, expires)


def _visible(*texts: str) -> bool:
    """Whether texts can be in a header; an error of the client would repeat them."""
    return all(text.isascii() and text.isprintable() for text in texts)


def _first(tag: str, text: str) -> str:
    found = re.search(_TAG.format(tag), text)
    return html.unescape(found.group(1)).strip() if found else ""


def _send(
    method: str,
    server: str,
    path: str,
    headers: dict[str, str],
    body: bytes,
    seconds: float,
    *,
    direct: bool = False,
) -> tuple[int, str]:
    """Status and text of an answer.

    Raises:
        Refused: there is no answer.
    """
    proxy = "" if direct else os.environ.get(names.ENV_S3_PROXY) or ""
    url = urlsplit(server)
    first = urlsplit(proxy or server)
    try:
        connection: http.client.HTTPConnection
        if url.scheme == "https":
            context = client_context(os.environ.get(names.ENV_S3_CA_BUNDLE) or "")
            connection = http.client.HTTPSConnection(
                first.hostname or "", first.port, timeout=seconds, context=context
            )
            if proxy:
                connection.port = first.port or 80
                connection.set_tunnel(url.hostname or "", url.port)
        else:
            connection = http.client.HTTPConnection(
                first.hostname or "", first.port, timeout=seconds
            )
            path = f"http://{url.netloc}{path}" if proxy else path
        try:
            connection.request(method, path, body or None, headers)
            answer = connection.getresponse()
            return answer.status, _body(answer, seconds).decode(errors="replace")
        finally:
            connection.close()
    except ssl.SSLCertVerificationError as e:
        raise Refused(0, "SSLError", f"no answer from {url.netloc}: {e}") from e
    except ValueError:  # the port is none, or a label of the host is empty or too long
        raise Refused(0, "EndpointConnectionError", f"{url.netloc} is no address") from None
    except (OSError, http.client.HTTPException) as e:
        code = "ProxyConnectionError" if proxy else "EndpointConnectionError"
        said = str(e) or type(e).__name__
        raise Refused(0, code, f"no answer from {url.netloc}: {said}") from e


def _body(answer: http.client.HTTPResponse, seconds: float) -> bytes:
    """The first bytes of an answer.

    Raises:
        TimeoutError: they do not come in time; the timeout of the socket is that of each piece.
    """
    ends = time.monotonic() + seconds
    body = b""
    while len(body) < ANSWER_BYTES and (part := answer.read1(ANSWER_BYTES - len(body))):
        body += part
        if time.monotonic() > ends:
            raise TimeoutError("the answer is too slow")
    return body
