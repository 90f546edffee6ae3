"""A wrong value of the configuration is an error that names its origin, and shows no secret."""

import base64
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from nanogrid.cli.app.errors import as_cli_error
from nanogrid.client.errors import InvalidRequest, NanoGridError, NotConfigured
from nanogrid.client.gateway import Gateway
from nanogrid.client.kube import connection, paths
from nanogrid.client.kube.cluster import Cluster
from nanogrid.client.storage import ENV_KEYS, Storage
from support.api_store import NAMESPACE
from support.client_server import FakeApi

SECRET = "s3cr3t"
EXEC = "client.authentication.k8s.io/v1"
# Texts that no header can have, and what the error says about them.
WRONG_TOKENS = {
    f"{SECRET}\nx": "a line end in place 7",
    f"{SECRET}\rx": "a line end in place 7",
    f"{SECRET}\0x": r"the character '\x00' in place 7",
    f"토큰{SECRET}": r"the character '\ud1a0' in place 1",
}
GOOD_TOKENS = [SECRET, f"{SECRET}\n", f" {SECRET}\r\n"]
WRONG_URLS = {
    "http://a b": "a space or a line end",
    "http://a\nb": "a space or a line end",
    "127.0.0.1:1": "does not begin with http:// or https://",
    "ftp://h": "does not begin with http:// or https://",
    "https:///path": "names no host",
    "http://h:99999": "out of range",
    "http://h:x": "x",
    "https://[::1": "IPv6",
    "https://h/runs?namespace=a": "a query or a fragment",
    "https://h/#top": "a query or a fragment",
}


@pytest.fixture(autouse=True)
def no_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KUBECONFIG", "NANOGRID_NAMESPACE", "NANOGRID_URL", "NANOGRID_TOKEN"):
        monkeypatch.delenv(name, raising=False)


def config(user: Any, **cluster: Any) -> dict[str, Any]:
    """A kubeconfig with one context."""
    cluster = {"server": "http://127.0.0.1:1"} | cluster
    return {
        "current-context": "a",
        "contexts": [{"name": "a", "context": {"cluster": "c", "user": "u", "namespace": "team"}}],
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
    }


def written(folder: Path, content: Any) -> str:
    path = folder / "config"
    path.write_text(yaml.safe_dump(content))
    return str(path)


def by_program(token: str) -> dict[str, Any]:
    """A user whose token a program prints."""
    credential = {"apiVersion": EXEC, "kind": "ExecCredential", "status": {"token": token}}
    code = f"print({json.dumps(credential)!r})"
    arguments = {"command": sys.executable, "args": ["-c", code]}
    return {"exec": {"apiVersion": EXEC, "interactiveMode": "Never", **arguments}}


def by_file(token: str, folder: Path) -> dict[str, Any]:
    (folder / "token").write_bytes(token.encode())
    return {"tokenFile": str(folder / "token")}


def headers_of(folder: Path, user: Any) -> dict[str, str]:
    return Cluster.connect(None, written(folder, config(user))).connection.auth_headers()


ORIGINS: dict[str, tuple[str, Callable[[str, Path], Any]]] = {
    "kubeconfig": ("the token of context a in ", lambda token, _: {"token": token}),
    "program": ("the token from the program or provider", lambda token, _: by_program(token)),
    "file": ("the token from the program or provider", by_file),
}


def refused(error: NanoGridError, *parts: str) -> None:
    """The error names these parts, has hints, and shows no secret."""
    shown = as_cli_error(error)
    assert shown is not None
    assert shown.hint
    for part in parts:
        assert part in error.message
    assert SECRET not in f"{error} {shown.message} {shown.hint}"


@pytest.mark.parametrize("origin", ORIGINS)
@pytest.mark.parametrize("token", WRONG_TOKENS)
def test_a_wrong_token_of_a_kubeconfig_is_named(tmp_path: Path, token: str, origin: str) -> None:
    named, user = ORIGINS[origin]
    with pytest.raises(NotConfigured) as caught:
        headers_of(tmp_path, user(token, tmp_path))
    expected = "a line end" if origin == "file" and "\r" in token else WRONG_TOKENS[token]
    refused(caught.value, named, expected)


@pytest.mark.parametrize("origin", ORIGINS)
@pytest.mark.parametrize("token", GOOD_TOKENS)
def test_line_ends_around_a_token_do_no_harm(tmp_path: Path, token: str, origin: str) -> None:
    _, user = ORIGINS[origin]
    assert headers_of(tmp_path, user(token, tmp_path)) == {"authorization": f"Bearer {SECRET}"}


@pytest.mark.parametrize("token", WRONG_TOKENS)
def test_a_wrong_token_of_a_gateway_is_named(monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    with pytest.raises(NotConfigured) as caught:
        Gateway.connect("http://h", token)
    refused(caught.value, "the token of the gateway", WRONG_TOKENS[token])
    if "\0" not in token:  # no variable has it
        monkeypatch.setenv("NANOGRID_TOKEN", token)
        with pytest.raises(NotConfigured) as caught:
            Gateway.connect("http://h")
        refused(caught.value, "$NANOGRID_TOKEN", WRONG_TOKENS[token])
    Gateway.connect("http://h", GOOD_TOKENS[1]).close()


# The library of S3 reads these variables by itself. It would send the line end, and fail with the
# secret in its message.
@pytest.mark.parametrize("value", [f"{SECRET}\n", f"{SECRET}\r", f" {SECRET}"])
@pytest.mark.parametrize("variable", ENV_KEYS)
def test_a_key_of_s3_with_a_line_end_around_it_is_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    for name in ENV_KEYS:
        monkeypatch.setenv(name, SECRET)
    Storage.from_env().close()
    monkeypatch.setenv(variable, value)
    with pytest.raises(NotConfigured) as caught:
        Storage.from_env()
    refused(caught.value, f"${variable}", "at its start or end")


def test_the_scheme_of_a_url_has_any_case(tmp_path: Path) -> None:
    for user in ({"token": "t"}, by_program("t")):
        path = written(tmp_path, config(user, server="HTTPS://127.0.0.1:1/k8s/clusters/c-1/"))
        assert Cluster.connect(None, path).connection.host == "https://127.0.0.1:1/k8s/clusters/c-1"


def test_a_proxy_that_needs_a_package_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "find_spec", lambda name: None)
    proxied = {"proxy-url": "socks5://127.0.0.1:1080"}
    with pytest.raises(NotConfigured) as caught:
        Cluster.connect(None, written(tmp_path, config({"token": "t"}, **proxied)))
    refused(caught.value, "a proxy with socks:// needs the package")
    assert "pysocks" in caught.value.hint
    proxied = {"proxy-url": "http://127.0.0.1:3128"}
    assert Cluster.connect(None, written(tmp_path, config({"token": "t"}, **proxied)))


FAILED: dict[str, Any] = {
    "missing": {"command": "no-such-program", "args": ["x"]},
    "fails": {"command": sys.executable, "args": ["-c", "raise SystemExit('sign in again')"]},
    "gives nothing": {"command": sys.executable, "args": ["-c", ""]},
}


@pytest.mark.parametrize("kind", FAILED)
def test_a_program_that_gives_no_credentials_is_named(tmp_path: Path, kind: str) -> None:
    # Without this error the request has no credentials, and the server says Forbidden.
    user = {"exec": {"apiVersion": EXEC, "interactiveMode": "Never", **FAILED[kind]}}
    with pytest.raises(NotConfigured) as caught:
        Cluster.connect(None, written(tmp_path, config(user)))
    refused(caught.value, f"'{FAILED[kind]['command']}' of the kubeconfig gave no credentials")


@pytest.mark.parametrize("key", ["as", "as-groups", "as-uid", "as-user-extra"])
@pytest.mark.parametrize("files", [1, 2])
def test_a_user_that_acts_as_another_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, files: int
) -> None:
    # Without these headers the requests would have the rights of the real user.
    monkeypatch.setenv("KUBECONFIG", ":".join([written(tmp_path, config({"token": "t"}))] * files))
    assert Cluster.connect().connection.auth_headers() == {"authorization": "Bearer t"}
    written(tmp_path, config({"token": "t", key: ["viewer"]}))
    with pytest.raises(NotConfigured) as caught:
        Cluster.connect()
    refused(caught.value, f"the user of context a has '{key}'")


@pytest.mark.parametrize("variable", ["AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN"])
def test_a_wrong_key_of_s3_is_named(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv(variable, f"{SECRET}\nx")
    with pytest.raises(NotConfigured) as caught:
        Storage.from_env()
    refused(caught.value, f"${variable}", "a line end")


@pytest.mark.parametrize("url", WRONG_URLS)
def test_a_wrong_url_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    with pytest.raises(NotConfigured) as caught:
        Cluster.connect(None, written(tmp_path, config({"token": "t"}, server=url)))
    refused(caught.value, "the server of context a in ", WRONG_URLS[url])
    with pytest.raises(NotConfigured) as caught:
        Cluster.connect(None, written(tmp_path, config(by_program("t"), server=url)))
    refused(caught.value, WRONG_URLS[url])
    for variable, connect in (
        ("NANOGRID_URL", Gateway.connect),
        ("NANOGRID_S3_ENDPOINT", Storage.from_env),
    ):
        monkeypatch.setenv(variable, url)
        with pytest.raises(NotConfigured) as caught:
            connect()
        refused(caught.value, f"${variable}", WRONG_URLS[url])


def test_a_password_in_a_url_is_not_shown() -> None:
    with pytest.raises(NotConfigured) as caught:
        Gateway.connect(f"http://me:{SECRET}@h:99999")
    refused(caught.value, "'http://h:99999'")
    gateway = Gateway.connect(f"http://me:{SECRET}@127.0.0.1:1")
    with pytest.raises(NanoGridError) as unreachable:
        gateway.function("f")
    refused(unreachable.value, "http://127.0.0.1:1 does not answer")


TEXT = base64.b64encode(b"no PEM").decode()
BROKEN: dict[str, tuple[Any, dict[str, Any], str]] = {
    "CA": ({}, {"certificate-authority-data": TEXT}, "certificate-authority of context a in "),
    "CA data": ({}, {"certificate-authority-data": "%"}, "certificate-authority-data of context a"),
    "CA file": ({}, {"certificate-authority": "/no/file"}, "/no/file"),
    "pair": (
        {"client-certificate-data": TEXT, "client-key-data": TEXT},
        {},
        "client-certificate and client-key of context a in ",
    ),
    "user": ("x", {}, "a field is missing or has a wrong type"),
    "no user": (None, {}, "user"),
    "server": ({}, {"server": 1}, "a field is missing or has a wrong type"),
    "proxy": ({}, {"proxy-url": "http://a b"}, "'a b'"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_field_of_a_kubeconfig_is_named(tmp_path: Path, case: str) -> None:
    user, cluster, named = BROKEN[case]
    content = config(user, **{"server": "https://127.0.0.1:1"} | cluster)
    with pytest.raises(NotConfigured) as caught:
        Cluster.connect(None, written(tmp_path, content))
    refused(caught.value, named)


def test_a_user_without_credentials_is_no_error(tmp_path: Path) -> None:
    assert headers_of(tmp_path, {}) == {}


@pytest.mark.parametrize("name", ["a b", "a/b", "..", "a\nb", "한", "A", "a" * 64])
def test_a_name_that_no_namespace_can_have_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = written(tmp_path, config({}))
    with pytest.raises(InvalidRequest, match="the namespace is "):
        Cluster.connect(None, path, name)
    for collection in (paths.jobs, paths.functions, paths.pods, paths.secrets, paths.events):
        with pytest.raises(InvalidRequest, match="the namespace is "):
            collection(name)
    monkeypatch.setenv("NANOGRID_NAMESPACE", name)
    with pytest.raises(InvalidRequest, match="NANOGRID_NAMESPACE is "):
        Cluster.connect(None, path)


def test_a_correct_configuration_reaches_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, api: FakeApi
) -> None:
    monkeypatch.setenv("NANOGRID_NAMESPACE", NAMESPACE)
    content = config({"token": f"{SECRET}\n"}, server=f" {api.url}/\n")
    cluster = Cluster.connect(None, written(tmp_path, content))
    assert cluster.list(paths.jobs(cluster.namespace)) == []
