"""``nanogrid doctor --tenant`` on a real cluster: the boundary holds, and a hole in it is found."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nanogrid import names
from nanogrid.cli.app.exits import Exit
from nanogrid.cli.main import app
from nanogrid.reasons import Reason
from nanogrid.types import Json
from support.kubectl import Namespace, eventually, kubectl, kubectl_json
from support.network_pods import policy

pytestmark = pytest.mark.security

Found = dict[str, list[Json]]  # findings by state


def doctor(namespace: Namespace, *options: str) -> tuple[int, Found]:
    """Run it; returns the exit code and the findings. It leaves no job."""
    args = ["doctor", "--tenant", namespace.name, "-o", "json", *options]
    done = CliRunner().invoke(app, args)
    assert done.stdout, (done.stderr, done.exc_info)
    found: Found = {"ok": [], "warn": [], "fail": [], "skip": []}
    for one in json.loads(done.stdout):
        found[one["state"]].append(one)
    assert kubectl_json("-n", namespace.name, "get", "ej")["items"] == []
    return done.exit_code, found


def checks(findings: list[Json]) -> set[str]:
    return {one["check"] for one in findings}


def test_the_boundary_of_a_namespace_holds(namespace: Namespace) -> None:
    code, found = doctor(namespace)

    assert (code, found["fail"]) == (0, []), found["fail"]
    assert {
        "job",
        "to operator's results port",
        "to DNS",
        "to API server",
        "to Redis",
        "to router",
        "to gateway",
        "user",
        "capabilities",
        "token files",
        "root file system",
        "other processes",
        "job: input from another namespace's root",
        "job: PriorityClass",
        "job: operator's image",
        "rights: default",
        "policies",
        "pod security",
    } <= checks(found["ok"])


def test_a_hole_is_found(namespace: Namespace) -> None:
    """The positive control of all denials in the network."""
    port = {"protocol": "TCP", "port": 6443}
    namespace.apply(policy("open", "Egress", {"ports": [port]}))

    code, found = doctor(namespace)

    assert code == Exit.FAILED
    assert "to API server" in checks(found["fail"])
    assert "policies" in checks(found["warn"])
    assert "to operator's results port" in checks(found["ok"])
    assert not [one for one in found["fail"] if not one["check"].startswith("to ")]


def test_code_does_not_start_in_an_open_network(namespace: Namespace) -> None:
    """The positive control of the gate: a policy of the tenant opens everything."""
    namespace.apply(policy("open", "Egress", {}))

    code, found = doctor(namespace)

    (job,) = found["fail"]
    assert (code, job["check"]) == (Exit.FAILED, "job")
    assert Reason.NETWORK_NOT_ENFORCED in job["detail"]


def test_a_user_of_the_namespace_runs_it(namespace: Namespace, tmp_path: Path) -> None:
    namespace.kubectl("create", "serviceaccount", "user")
    account = f"--serviceaccount={namespace.name}:user"
    namespace.kubectl("create", "rolebinding", "user", "--clusterrole=edit", account)
    config = json.loads(kubectl("config", "view", "--raw", "--minify", "-o", "json"))
    user = f"--as=system:serviceaccount:{namespace.name}:user"
    right = ("auth", "can-i", "create", f"{names.PLURAL}.{names.GROUP}", user)
    eventually("the role applies", lambda: namespace.kubectl(*right))
    token = namespace.kubectl("create", "token", "user").strip()
    config["users"] = [{"name": "user", "user": {"token": token}}]
    config["contexts"][0]["context"]["user"] = "user"
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(config))

    code, found = doctor(namespace, "--kubeconfig", str(path))

    assert (code, found["fail"]) == (0, []), found["fail"]
    assert "rights: you" in checks(found["warn"])
    assert "to API server" in checks(found["ok"])
    assert {"installation", "rights", names.TENANT_KIND} <= checks(found["skip"])
