"""Kubeconfigs with fixed credentials: a token or a client certificate.

The ``kubernetes`` package takes a third of the start time of a short command. It is needed where
credentials come from a program or a provider. This module reads the rest, and only what it knows:
any other key leaves the file to the package. Pure, except that it reads files.
"""

import base64
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from urllib3.util.ssl_ import create_urllib3_context

from nanogrid.client.configured import header_text, server_url
from nanogrid.client.errors import NotConfigured
from nanogrid.types import Json

CLUSTER_KEYS: Final = frozenset({
    "server", "certificate-authority", "certificate-authority-data", "insecure-skip-tls-verify",
    "tls-server-name", "extensions",
})  # fmt: skip
USER_KEYS: Final = frozenset({
    "token", "client-certificate", "client-certificate-data", "client-key", "client-key-data",
    "extensions",
})  # fmt: skip
# With a proxy, the package decides which requests use it.
IMPERSONATION: Final = ("as", "as-uid", "as-groups", "as-user-extra")
PROXY_VARIABLES: Final = ("http_proxy", "https_proxy", "all_proxy")


@dataclass(frozen=True, slots=True)
class Access:
    """Address and fixed credentials of one API server.

    Attributes:
        host: URL of the API server.
        namespace: of the context; may be empty.
        token: sent as Authorization; may be empty.
        tls: for a pool of connections; None for http.
        server_name: the name in the server's certificate, if it is not the host.
    """

    host: str
    namespace: str
    token: str
    tls: ssl.SSLContext | None
    server_name: str = ""


def read(path: str, context: str | None, environ: Mapping[str, str]) -> Access | None:
    """The access of a kubeconfig; None if the ``kubernetes`` package has to read it.

    Args:
        path: of one file.
        context: of the file; default is its current one.
        environ: variables of this process.

    Raises:
        OSError: a file of a certificate cannot be read.
        ValueError: a certificate or a key is not valid; the message names it.
        NotConfigured: the token or the server is not valid, or the user acts as another one.
    """
    import yaml

    if os.pathsep in path or any(one.lower() in PROXY_VARIABLES for one in environ):
        return None
    file = Path(path).expanduser()
    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        found = yaml.load(file.read_text("utf-8"), loader)  # noqa: S506 a safe loader
    except (OSError, ValueError, yaml.YAMLError):
        return None  # the package reports it
    user_of(found, context)
    parts = chosen(found, context)
    if parts is None:
        return None
    cluster, user, namespace = parts
    where = f"of context {context or found['current-context']} in {path}"
    server = server_url(cluster["server"], f"the server {where}")
    secure = server.startswith("https://")
    return Access(
        host=server,
        namespace=namespace,
        token=header_text(user.get("token"), f"the token {where}"),
        tls=_tls(cluster, user, file.parent, where) if secure else None,
        server_name=str(cluster.get("tls-server-name") or ""),
    )


def chosen(config: Any, context: str | None) -> tuple[Json, Json, str] | None:
    """Cluster, user and namespace of a context; None if they have a key that is not known here."""
    if not isinstance(config, dict):
        return None
    name = context or config.get("current-context")
    place = _named(config, "contexts", "context", name)
    if place is None:
        return None
    cluster = _named(config, "clusters", "cluster", place.get("cluster"))
    user = _named(config, "users", "user", place.get("user"))
    if cluster is None or user is None or not isinstance(cluster.get("server"), str):
        return None
    if set(cluster) - CLUSTER_KEYS or set(user) - USER_KEYS:
        return None
    return cluster, user, str(place.get("namespace") or "")


def user_of(config: Any, context: str | None) -> Json:
    """The user of a context; empty if there is none.

    Raises:
        NotConfigured: the user acts as another one. Requests without these headers would have
            other rights, mostly more.
    """
    if not isinstance(config, dict):
        return {}
    name = context or config.get("current-context")
    place = _named(config, "contexts", "context", name) or {}
    user = _named(config, "users", "user", place.get("user")) or {}
    if named := [key for key in IMPERSONATION if user.get(key)]:
        message = f"the user of context {name} has '{named[0]}', which is not supported."
        raise NotConfigured(message, "Use a context whose user has its own credentials.")
    return user


def program_of(user: Json) -> str:
    """What gives the credentials of a user: a program or a provider; empty for fixed ones."""
    for key, name in (("exec", "command"), ("auth-provider", "name")):
        if isinstance(found := user.get(key), dict):
            return str(found.get(name) or key)
    return ""


def _named(config: Json, plural: str, kind: str, name: Any) -> Json | None:
    listed = config.get(plural)
    for one in listed if isinstance(listed, list) else []:
        if isinstance(one, dict) and one.get("name") == name and isinstance(one.get(kind), dict):
            return dict(one[kind])
    return None


def _tls(cluster: Json, user: Json, folder: Path, where: str) -> ssl.SSLContext:
    """A context that knows the server's authority and the client's certificate."""
    made = create_urllib3_context()  # the same rules as in the package
    if authority := _pem(cluster, "certificate-authority", folder, where):
        try:
            made.load_verify_locations(cadata=authority.decode("ascii", "ignore"))
        except ssl.SSLError as error:
            message = f"the certificate-authority {where} has no certificate in PEM format"
            raise ValueError(message) from error
    else:
        made.load_default_certs()
    if cluster.get("insecure-skip-tls-verify") is True:  # the text "false" must not turn it off
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    certificate = _pem(user, "client-certificate", folder, where)
    key = _pem(user, "client-key", folder, where)
    if b"ENCRYPTED" in key:
        # OpenSSL would ask for the password on the terminal. kubectl refuses such a key, too.
        raise ValueError("the client key is encrypted with a password; decrypt it first")
    if certificate:
        # OpenSSL reads a key from a file only. The folder is readable by its owner alone.
        with TemporaryDirectory() as private:
            pair = Path(private) / "pair.pem"
            pair.touch(mode=0o600)
            pair.write_bytes(certificate + b"\n" + key)
            try:
                made.load_cert_chain(pair)
            except ssl.SSLError as error:
                detail = (error.reason or "no PEM").lower().replace("_", " ")
                message = f"client-certificate and client-key {where} are not a pair: {detail}"
                raise ValueError(message) from error
    return made


def _pem(fields: Json, key: str, folder: Path, where: str) -> bytes:
    """The content of a file, or of a ``-data`` field, which comes first; empty without both."""
    if data := fields.get(f"{key}-data"):
        try:
            return base64.b64decode("".join(str(data).split()), validate=True)
        except ValueError as error:
            raise ValueError(f"{key}-data {where} is not base64: {error}") from error
    return (folder / str(fields[key])).read_bytes() if fields.get(key) else b""
