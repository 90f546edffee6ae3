"""The cluster's API server behind a fault proxy, and a kubeconfig for the proxy."""

import base64
import os
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from chaos.lab.faultproxy import FaultProxy


def _entry(config: dict[str, Any], kind: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(e[kind] for e in config[f"{kind}s"] if e["name"] == name)
    return found


def credentials() -> tuple[str, ssl.SSLContext]:
    """The URL of the API server in $KUBECONFIG, and a TLS context with the client certificate."""
    config = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text())
    context = _entry(config, "context", config["current-context"])
    cluster, user = (_entry(config, kind, context[kind]) for kind in ("cluster", "user"))
    secure = ssl.create_default_context(
        cadata=base64.b64decode(cluster["certificate-authority-data"]).decode()
    )
    with tempfile.TemporaryDirectory() as directory:
        for name in ("client-certificate", "client-key"):
            Path(directory, name).write_bytes(base64.b64decode(user[f"{name}-data"]))
        secure.load_cert_chain(f"{directory}/client-certificate", f"{directory}/client-key")
    return cluster["server"], secure


@contextmanager
def api_server() -> Iterator[FaultProxy]:
    """The API server in $KUBECONFIG, behind a proxy that presents the client certificate."""
    server, secure = credentials()
    with FaultProxy(server, ssl_context=secure) as proxy:
        yield proxy


def kubeconfig(proxy: FaultProxy, path: Path) -> None:
    """Write a kubeconfig whose server is the proxy."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "lab", "cluster": {"server": proxy.url}}],
        "users": [{"name": "lab", "user": {}}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "lab"}}],
        "current-context": "lab",
    }
    path.write_text(yaml.safe_dump(config))
