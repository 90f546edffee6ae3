"""Two releases of the chart: they share a cluster, a bucket and a Redis without a common name."""

import itertools
import json
from typing import Any

import pytest
import yaml

from nanogrid.types import Json
from nanogrid_operator.manifests.network import namespace_policies
from nanogrid_operator.settings import Settings
from support.helm import CHART, CLUSTER_SCOPED, helm, manifests, named, of_kind, pod_spec

pytestmark = pytest.mark.security

DEV: dict[str, Any] = {
    "devServices": {"enabled": True},
    "gateway": {"web": {"allNamespaces": True}},
}
SECOND = DEV | {
    "controllerClass": "beta",
    "crds": {"install": False},
    "egressProxy": {"enabled": True},
    "redis": {"prefix": "beta:"},
}


def release(namespace: str, values: dict[str, Any]) -> list[Json]:
    """The manifests of a release with the name nanogrid."""
    return manifests("--namespace", namespace, values=values)


def identities(documents: list[Json], namespace: str) -> set[tuple[str, str, str]]:
    """Kind, namespace and name of each object; the namespace is empty for the cluster's."""
    return {
        (
            d["kind"],
            "" if d["kind"] in CLUSTER_SCOPED else d["metadata"].get("namespace", namespace),
            d["metadata"]["name"],
        )
        for d in documents
    }


def test_two_releases_of_one_name_share_no_object() -> None:
    first, second = release("one", DEV), release("two", SECOND)

    assert not identities(first, "one") & identities(second, "two")
    # The same check finds what the CRDs of two owners share.
    both = release("two", SECOND | {"crds": {"install": True}})
    assert {kind for kind, *_ in identities(first, "one") & identities(both, "two")} == {
        "CustomResourceDefinition"
    }


def test_two_releases_of_one_name_have_rights_in_the_same_namespaces() -> None:
    jobs = {"watchNamespaces": ["jobs", "more"], "gateway": {"web": {"allNamespaces": False}}}
    found = []
    for namespace, values in (("one", DEV), ("two", SECOND)):
        done = helm("template", "nanogrid", CHART, "-n", namespace, values=values | jobs)
        assert done.returncode == 0, done.stderr
        documents = [d for d in yaml.safe_load_all(done.stdout) if d]
        found.append(identities(documents, namespace))
        for binding in of_kind("RoleBinding", documents):
            place = binding["metadata"].get("namespace", namespace)
            assert ("Role", place, binding["roleRef"]["name"]) in found[-1]

    assert not found[0] & found[1]
    # Also the rights of gateway and self-test.
    roles = {(place, name) for kind, place, name in found[0] if kind == "Role"}
    parts = ("", "-gateway", "-router", "-test")
    assert {("jobs", f"one:nanogrid{part}") for part in parts} < roles
    assert ("more", "one:nanogrid") in roles


def test_the_self_tests_of_two_releases_run_different_jobs() -> None:
    jobs = []
    for namespace, values in (("one", DEV), ("two", SECOND)):
        done = helm("template", "nanogrid", CHART, "-n", namespace, values=values)
        documents = [d for d in yaml.safe_load_all(done.stdout) if d]
        pod = named("Pod", "nanogrid-test", documents)
        env = {e["name"]: e["value"] for e in pod["spec"]["containers"][0]["env"]}
        jobs.append((env["NANOGRID_SELF_TEST_JOB"], env["NANOGRID_CONTROLLER_CLASS"]))
        names = [n for r in named("Role", "nanogrid-test", documents)["rules"]
                 for n in r.get("resourceNames", [])]  # fmt: skip
        assert names == [env["NANOGRID_SELF_TEST_JOB"]]

    assert jobs == [("nanogrid-test", ""), ("nanogrid-test-beta", "beta")]


def test_names_of_the_cluster_are_not_ambiguous() -> None:
    """Release a-b in namespace c is not release b in namespace c-a."""
    named_by = {"fullnameOverride": "b"}
    first = manifests("--namespace", "c-a", values=DEV | named_by)
    second = manifests("--namespace", "c", values=SECOND | {"fullnameOverride": "a-b"})

    own = [
        {name for kind, _, name in identities(documents, "") if kind in CLUSTER_SCOPED}
        for documents in (first, second)
    ]
    assert not own[0] & own[1]
    assert all(len(names) > 3 for names in own)


def test_each_binding_is_about_its_own_role_and_accounts() -> None:
    for namespace, values in (("one", DEV), ("two", SECOND)):
        documents = release(namespace, values)
        roles = {r["metadata"]["name"] for r in of_kind("ClusterRole", documents)}
        bindings = of_kind("ClusterRoleBinding", documents)
        assert bindings
        for binding in bindings:
            assert binding["roleRef"]["name"] in roles
            assert [s["namespace"] for s in binding["subjects"]] == [namespace]


def env_of(documents: list[Json], name: str) -> dict[str, Any]:
    (container,) = pod_spec(named("Deployment", name, documents))["containers"]
    return {e["name"]: e.get("value") for e in container["env"]}


def test_all_parts_know_the_class() -> None:
    for values, expected in ((DEV, ""), (SECOND, "beta")):
        documents = release("two", values)
        for name in ("nanogrid", "nanogrid-gateway", "nanogrid-router"):
            assert env_of(documents, name)["NANOGRID_CONTROLLER_CLASS"] == expected
        for name in ("nanogrid", "nanogrid-gateway"):
            prefix = values.get("redis", {}).get("prefix", "")
            assert env_of(documents, name)["NANOGRID_REDIS_PREFIX"] == prefix


def rules_about(resource: str, documents: list[Json]) -> set[str]:
    return {
        name
        for role in of_kind("ClusterRole", documents)
        for rule in role["rules"]
        if resource in rule["resources"]
        for name in rule.get("resourceNames", [])
    }


def test_rights_are_for_the_policies_and_secret_of_the_class() -> None:
    """They name exactly what the operator makes."""
    found = []
    for values in (DEV, SECOND):
        documents = release("two", values)
        env = env_of(documents, "nanogrid")
        keys = ("RESULT_KEY_MASTER", "EGRESS_KEY", "SESSION_KEY", "S3_SECRET_REPLICATE")
        given = {k: v for k, v in env.items() if v and k[len("NANOGRID_") :] not in keys}
        peers = '[{"podSelector": {}}]'
        given |= {"NANOGRID_RESULT_KEY_MASTER": "k" * 16, "NANOGRID_EGRESS_KEY": "k" * 16}
        given |= {"NANOGRID_IDENTITY": "pod", "NANOGRID_LEASE_NAMESPACE": "two"}
        settings = Settings.from_env(given | {"NANOGRID_EGRESS_PROXY_PEERS": peers})
        made = {policy["metadata"]["name"] for policy in namespace_policies(settings)}
        secret = env["NANOGRID_S3_SECRET"]
        assert rules_about("networkpolicies", documents) == made
        assert rules_about("secrets", documents) == {secret}
        found.append(made | {secret})
    assert not found[0] & found[1]


def test_redis_users_of_dev_services_are_for_the_names_with_the_prefix() -> None:
    text = named("Secret", "nanogrid-dev", release("two", SECOND))["stringData"]["users.acl"]
    users = {line.split()[1]: line for line in text.splitlines()}

    assert " ~beta:result:* ~beta:results ~beta:results:* " in users["operator"]
    assert " &beta:result:* " in users["operator"]
    assert " %R~beta:result:" in users["gateway"]
    plain = named("Secret", "nanogrid-dev", release("one", DEV))["stringData"]["users.acl"]
    assert "beta" not in plain
    assert " ~result:* ~results ~results:* " in plain


def test_selectors_and_services_of_two_releases_in_one_namespace_differ() -> None:
    """Here the releases have different names."""
    selectors = []
    for name, values in (("nanogrid-a", DEV), ("nanogrid-b", SECOND)):
        done = helm("template", name, CHART, "--namespace", "shared", values=values)
        assert done.returncode == 0, done.stderr
        documents = [d for d in yaml.safe_load_all(done.stdout) if d]
        found = [
            json.dumps(d["spec"]["selector"], sort_keys=True)
            for d in documents
            if d["kind"] in ("Deployment", "Service")
        ]
        selectors.append((set(found), identities(documents, "shared")))
    for one, other in itertools.pairwise(selectors):
        assert one[0]
        assert not one[0] & other[0]
        kinds = {kind for kind, *_ in one[1] & other[1]}
        assert kinds == set()


@pytest.mark.parametrize("value", ["Beta", "a.b", "a" * 64, "-a"])
def test_an_impossible_class_is_refused(value: str) -> None:
    done = helm("template", "nanogrid", CHART, values=DEV | {"controllerClass": value})

    assert done.returncode != 0
    assert "controllerClass" in done.stderr


def test_the_first_job_of_the_notes_has_the_class() -> None:
    for values, expected in ((DEV, False), (SECOND, True)):
        done = helm("install", "nanogrid", CHART, "--dry-run=client", values=values)
        assert ("controllerClass: beta" in done.stdout.partition("NOTES:")[2]) == expected
