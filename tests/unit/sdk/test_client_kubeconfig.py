"""Kubeconfigs with fixed credentials are read without the kubernetes package, with its result."""

import base64
import copy
import http.server
import shutil
import ssl
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml

from nanogrid.client.errors import NotConfigured, Unreachable
from nanogrid.client.kube.cluster import Cluster
from nanogrid.client.kube.connection import _by_package, connect
from nanogrid.client.kube.kubeconfig import chosen, read
from nanogrid.types import Json

CONFIG: Json = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "a",
    "contexts": [
        {"name": "a", "context": {"cluster": "c", "user": "u", "namespace": "team"}},
        {"name": "b", "context": {"cluster": "c", "user": "v"}},
    ],
    "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1/k8s/"}}],
    "users": [
        {"name": "u", "user": {"token": "secret"}},
        {"name": "v", "user": {}},
    ],
}


def changed(kind: str, **fields: Any) -> Json:
    """The configuration with more fields in its cluster or its first user."""
    config = copy.deepcopy(CONFIG)
    config[f"{kind}s"][0][kind] |= fields
    return config


def written(folder: Path, config: Any) -> str:
    path = folder / "config"
    path.write_text(config if isinstance(config, str) else yaml.safe_dump(config))
    return str(path)


@pytest.mark.parametrize("context", [None, "a", "b"])
def test_the_result_is_that_of_the_package(tmp_path: Path, context: str | None) -> None:
    path = written(tmp_path, CONFIG)
    ours, theirs = connect(context, path), _by_package(context, path, None, False)
    assert ours.configuration is None
    assert (ours.host, ours.namespace) == (theirs.host, theirs.namespace)
    assert ours.auth_headers() == theirs.auth_headers()


def test_a_token_has_no_line_end(tmp_path: Path) -> None:
    found = read(written(tmp_path, changed("user", token="secret\n")), None, {})
    assert found is not None
    assert found.token == "secret"


@pytest.mark.parametrize(("skip", "mode"), [(True, ssl.CERT_NONE), ("false", ssl.CERT_REQUIRED)])
def test_only_true_turns_the_verification_off(
    tmp_path: Path, skip: object, mode: ssl.VerifyMode
) -> None:
    config = changed("cluster", server="https://h", **{"insecure-skip-tls-verify": skip})
    found = read(written(tmp_path, config), None, {})
    assert found is not None
    assert found.tls is not None
    assert found.tls.verify_mode == mode


@pytest.mark.parametrize(
    "config",
    [
        changed("user", exec={"command": "aws"}),
        changed("user", **{"auth-provider": {"name": "oidc"}}),
        changed("user", tokenFile="/token"),
        changed("user", username="x", password="y"),
        changed("cluster", **{"proxy-url": "http://proxy:1"}),
        changed("cluster", **{"a-key-of-a-later-release": True}),
        CONFIG | {"current-context": "nowhere"},
        CONFIG | {"users": []},
        CONFIG | {"clusters": None},
        CONFIG | {"contexts": [{"name": "a"}]},
        {},
        [],
        "a: [",
        "",
    ],
)
def test_what_is_not_known_is_left_to_the_package(tmp_path: Path, config: Any) -> None:
    assert read(written(tmp_path, config), None, {}) is None


def test_a_proxy_and_several_files_are_left_to_the_package(tmp_path: Path) -> None:
    path = written(tmp_path, CONFIG)
    assert read(path, None, {}) is not None
    assert read(path, None, {"HTTPS_PROXY": "http://proxy:1"}) is None
    assert read(path, None, {"http_proxy": "http://proxy:1"}) is None
    assert read(f"{path}:{path}", None, {}) is None
    assert read(str(tmp_path / "none"), None, {}) is None


def test_a_context_names_its_cluster_and_its_user() -> None:
    assert chosen(CONFIG, "b") == ({"server": "http://127.0.0.1:1/k8s/"}, {}, "")
    assert chosen(CONFIG, "nowhere") is None


@pytest.mark.parametrize(
    "user",
    [
        {"client-certificate": "absent.pem"},
        {"client-certificate-data": "%%%"},
        {"client-certificate-data": base64.b64encode(b"no certificate").decode()},
    ],
)
def test_a_wrong_certificate_is_an_error_with_a_hint(tmp_path: Path, user: Json) -> None:
    config = changed("cluster", server="https://127.0.0.1:1")
    config["users"][0]["user"] = user
    with pytest.raises(NotConfigured, match="no usable Kubernetes configuration"):
        connect(kubeconfig=written(tmp_path, config))


def test_an_encrypted_key_is_refused_and_no_password_is_asked_for(tmp_path: Path) -> None:
    config = changed("cluster", server="https://127.0.0.1:1")
    key = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n"
    encoded = base64.b64encode(key).decode()
    config["users"][0]["user"] = {"client-certificate-data": encoded, "client-key-data": encoded}
    with pytest.raises(NotConfigured, match="the client key is encrypted"):
        connect(kubeconfig=written(tmp_path, config))


class _Version(http.server.BaseHTTPRequestHandler):
    """Answers with the name in the client's certificate."""

    def do_GET(self) -> None:
        certificate = self.connection.getpeercert()  # type: ignore[attr-defined]
        name = dict(pair[0] for pair in (certificate or {}).get("subject", ()))
        body = str({"gitVersion": name.get("commonName", "anonymous")}).replace("'", '"').encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        return


def made_pair(folder: Path, name: str) -> tuple[Path, Path]:
    """A self-signed certificate for the address 127.0.0.1, and its key."""
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1,DNS:api.test"]
    command += ["-out", str(certificate), "-keyout", str(key)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return certificate, key


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")
def test_certificates_of_both_sides_are_used(tmp_path: Path) -> None:
    (ca, ca_key), (mine, my_key) = made_pair(tmp_path, "server"), made_pair(tmp_path, "me")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Version)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(ca, ca_key)
    tls.load_verify_locations(mine)
    tls.verify_mode = ssl.CERT_OPTIONAL
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()

    def version(cluster: Json, user: Json) -> str:
        config = copy.deepcopy(CONFIG)
        config["clusters"][0]["cluster"] = {"server": f"https://127.0.0.1:{server.server_port}"}
        config["clusters"][0]["cluster"] |= cluster
        config["users"][0]["user"] = user
        found = Cluster.connect(kubeconfig=written(tmp_path, config))
        assert found.connection.configuration is None
        return str(found.version()["gitVersion"])

    def data(path: Path) -> str:
        return base64.b64encode(path.read_bytes()).decode()

    trusted = {"certificate-authority-data": data(ca)}
    try:
        assert version(trusted, {}) == "anonymous"
        assert version({"certificate-authority": ca.name}, {"token": "t"}) == "anonymous"
        pair = {"client-certificate-data": data(mine), "client-key-data": data(my_key)}
        assert version(trusted, pair) == "me"
        files = {"client-certificate": mine.name, "client-key": str(my_key)}
        assert version(trusted, files) == "me"
        assert version({"insecure-skip-tls-verify": True}, {}) == "anonymous"
        assert version(trusted | {"tls-server-name": "api.test"}, {}) == "anonymous"
        for wrong in ({}, {"certificate-authority": mine.name}, {"tls-server-name": "other.test"}):
            with pytest.raises(Unreachable):
                version(wrong if "tls-server-name" not in wrong else trusted | wrong, {})
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
