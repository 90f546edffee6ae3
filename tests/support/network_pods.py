"""Plain pods that listen and connect, and NetworkPolicies, to test what a cluster enforces."""

from typing import Any

from nanogrid.types import Json
from support.kubectl import Namespace, kubectl_json

PORT = 8080
OTHER_PORT = 8081
CONNECT_SECONDS = 2

LISTEN = f"""
import http.server, threading
class Ok(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"ok")
for port in ({PORT}, {OTHER_PORT}):
    server = http.server.ThreadingHTTPServer(("", port), Ok)
    threading.Thread(target=server.serve_forever).start()
print("listening", flush=True)
"""

CONNECT = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), float(sys.argv[3])).close()
    print("open")
except OSError:
    print("denied")
"""


def pod(name: str, image: str, node: str, code: str, *args: str) -> Json:
    """A pod of the restricted standard that runs Python code on a node."""
    security = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {
        "name": "main",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-c", code, *args],
        "securityContext": security,
    }
    spec = {
        "containers": [container],
        "nodeSelector": {"kubernetes.io/hostname": node},
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 0,
    }
    metadata = {"name": name, "labels": {"app": name}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def listener(name: str, image: str, node: str) -> Json:
    """A pod that answers HTTP on both ports; the kubelet probes the first one."""
    manifest = pod(name, image, node, LISTEN)
    probe = {"httpGet": {"path": "/", "port": PORT}, "periodSeconds": 1}
    manifest["spec"]["containers"][0]["readinessProbe"] = probe
    return manifest


def address(namespace: Namespace, name: str) -> str:
    """The pod's address, once the pod is ready."""
    namespace.kubectl("wait", f"pod/{name}", "--for=condition=Ready", "--timeout=120s")
    return str(kubectl_json("-n", namespace.name, "get", "pod", name)["status"]["podIP"])


def connect(namespace: Namespace, name: str, target: str, port: int = PORT) -> str:
    """What a new connection from a pod gets: "open" or "denied" (refused or no answer)."""
    args = (target, str(port), str(CONNECT_SECONDS))
    return namespace.kubectl("exec", name, "--", "python3", "-c", CONNECT, *args).strip()


def policy(name: str, direction: str, *rules: Json) -> Json:
    """A NetworkPolicy for all pods of a namespace in one direction; without rules it denies all."""
    spec: dict[str, Any] = {"podSelector": {}, "policyTypes": [direction]}
    spec["egress" if direction == "Egress" else "ingress"] = list(rules)
    metadata = {"name": name}
    kind = "NetworkPolicy"
    return {"apiVersion": "networking.k8s.io/v1", "kind": kind, "metadata": metadata, "spec": spec}


def peer(direction: str, namespace: Namespace, port: int) -> Json:
    """A rule that allows a port to (Egress) or from (Ingress) the pods of a namespace."""
    selector = {"matchLabels": {"kubernetes.io/metadata.name": namespace.name}}
    side = "to" if direction == "Egress" else "from"
    return {side: [{"namespaceSelector": selector}], "ports": [{"port": port}]}
