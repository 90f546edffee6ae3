"""The egress proxy in the cluster: what a job with network.hosts gets, and what another job gets.

The cluster needs no internet: a public name ends at DNS or at the connection.
"""

import json
from collections.abc import Iterator

import pytest

from nanogrid import names
from scripts import devaccess
from support.kubectl import Namespace, eventually, inline, kubectl
from support.log_lines import of_text
from support.release import IN_RELEASE, RELEASE

PROXY = f"{RELEASE}-egress"
LABEL = "app.kubernetes.io/component=egress"  # of all replicas
ADDRESS = (f"{PROXY}.{devaccess.NAMESPACE}.svc", names.EGRESS_PROXY_PORT)
INSIDE = "kubernetes.default.svc.cluster.local"  # a name with an address of the cluster
PUBLIC = "nanogrid-e2e.example.com"

ASK = f"""
import base64, json, os, socket
from urllib.parse import urlsplit

url = urlsplit(os.environ["HTTPS_PROXY"])
secret = base64.b64encode((url.username + ":" + url.password).encode()).decode()

def ask(target, authorization="Basic " + secret):
    with socket.create_connection((url.hostname, url.port), 10) as connection:
        connection.settimeout(40)
        head = [f"CONNECT {{target}} HTTP/1.1", f"Proxy-Authorization: {{authorization}}", "", ""]
        connection.sendall("\\r\\n".join(head).encode())
        return int(connection.recv(100).split()[1])

print(json.dumps({{
    "no credentials": ask("{PUBLIC}:443", "Basic eDp5"),
    "another name": ask("example.com:443"),
    "another port": ask("{PUBLIC}:22"),
    "an address": ask("169.254.169.254:443"),
    "a name inside": ask("{INSIDE}:443"),
    "malformed": ask("[::1]:443"),
    "the public name": ask("{PUBLIC}:443"),
}}))
"""
CONNECT = f"""
import socket
try:
    socket.create_connection({ADDRESS!r}, 5).close()
    print("open")
except OSError:
    print("denied")
"""


@pytest.fixture
def open_tenant(namespace: Namespace) -> Iterator[Namespace]:
    """A namespace whose jobs may reach the internet."""
    if not kubectl(*IN_RELEASE, "get", "deploy", PROXY, "--ignore-not-found", "-o", "name"):
        pytest.skip("the release has no egress proxy (egressProxy.enabled)")
    body = {
        "apiVersion": names.API_VERSION,
        "kind": names.TENANT_KIND,
        "metadata": {"name": namespace.name},
        "spec": {"network": {"egress": "Internet"}},
    }
    kubectl(*IN_RELEASE, "apply", "-f", "-", stdin=json.dumps(body))
    yield namespace
    kubectl(*IN_RELEASE, "delete", "ngt", namespace.name, "--ignore-not-found")


def listed(*hosts: str) -> dict[str, object]:
    return {"egress": "Allowlist", "hosts": list(hosts)}


def test_a_job_reaches_the_names_of_its_allow_list_and_nothing_else(open_tenant: Namespace) -> None:
    numbers = iter(range(100))

    def asked() -> str:
        # The first jobs are refused until the operator has read the NanoGridTenant.
        name = f"asks-{next(numbers)}"
        open_tenant.apply(inline(name, ASK, network=listed(PUBLIC, INSIDE)))
        status = open_tenant.finished(name)
        if status["reason"] == "InvalidSpec":
            return ""
        assert status["phase"] == "Succeeded", status["message"]
        return name

    name = eventually("the NanoGridTenant applies", asked)
    found = json.loads(open_tenant.status(name)["result"]["stdout"])
    assert found.pop("the public name") in (200, 502, 504)
    assert found == {
        "no credentials": 407,
        "another name": 403,
        "another port": 403,
        "an address": 403,
        "a name inside": 403,
        "malformed": 400,
    }

    uid = open_tenant.get(name)["metadata"]["uid"]
    text = kubectl(*IN_RELEASE, "logs", "-l", LABEL, "--tail=500")
    lines = [line for line in of_text(text) if line.get("uid") == uid]
    inside = next(line for line in lines if line["host"] == INSIDE)
    assert (inside["namespace"], inside["outcome"]) == (open_tenant.name, "denied")
    assert {line["host"] for line in lines} >= {PUBLIC, "example.com", INSIDE}

    # A pod without an allow-list does not reach the proxy at all.
    control = inline("control", CONNECT, network=listed(PUBLIC))
    open_tenant.apply(control, inline("denied", CONNECT))
    outputs = {
        each: open_tenant.finished(each) and open_tenant.status(each)["result"]["stdout"].strip()
        for each in ("control", "denied")
    }
    assert outputs == {"control": "open", "denied": "denied"}
