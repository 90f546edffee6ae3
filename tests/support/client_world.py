"""API server, router and gateway for scripts that use the client, by their environment."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nanogrid.cli.http_serving import serving
from support.api_store import NAMESPACE, ApiStore, run_inline
from support.client_server import FakeApi
from support.client_session_server import FakeSession, ready_session
from support.fake_gateway import RESULT, FakeGateway

POD = "session-pod"


@dataclass(frozen=True)
class ClientWorld:
    """The servers, and the environment in which a script finds them."""

    api: FakeApi
    remote: FakeSession
    env: dict[str, str]


@contextmanager
def client_world(folder: Path) -> Iterator[ClientWorld]:
    """Servers until the end of the block; sessions are reached through the API server."""
    with serving(FakeApi()) as api, serving(FakeSession()) as remote, serving(FakeGateway()) as web:

        def operator(store: ApiStore, path: str, job: dict[str, Any]) -> None:
            if job["spec"].get("mode") == "Session":
                ready_session(store, job["metadata"]["name"], podName=POD)
            else:
                run_inline(store, path, job)

        api.operator = operator
        api.pods.ports[POD] = remote.server_port

        def on_end(name: str) -> None:
            # Through a tunnel the path has no name; the pod is that of all sessions.
            for path, job in list(api.objects.items()):
                session = (job.get("spec") or {}).get("mode") == "Session"
                if session and name in ("", job["metadata"]["name"]):
                    api.finish(path, reason="SessionEnded")

        remote.on_end = on_end
        web.script = [(200, RESULT)]
        config = folder / "config"
        config.write_text(json.dumps(kubeconfig(api.url)))
        # This operator knows no spec.env, so the variable of the page is here.
        env = {"KUBECONFIG": str(config), "NANOGRID_URL": web.url, "GREETING": "hello"}
        yield ClientWorld(api, remote, env)


def kubeconfig(server: str) -> dict[str, Any]:
    """A kubeconfig without credentials."""
    context = {"cluster": "c", "user": "u", "namespace": NAMESPACE}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "c", "context": context}],
    }
