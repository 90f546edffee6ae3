"""The chart as a platform team meets it: lint, rendered rights and security, refusals that help."""

import json
import subprocess
from typing import Any

import pytest
import yaml

from e2e.support import Json

CHART = "helm/nanogrid-operator"
REAL = {
    "s3": {"bucket": "jobs", "existingSecret": "s3-keys"},
    "redis": {"url": "rediss://redis:6379/0", "existingSecret": "redis-auth"},
}
DEV = {"devServices": {"enabled": True}}


def helm(*words: str, values: dict[str, Any]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["helm", *words, "--values", "-"], input=json.dumps(values), capture_output=True, text=True
    )


def render(values: dict[str, Any]) -> list[Json]:
    done = helm("template", "nanogrid", CHART, "--namespace", "platform", values=values)
    assert done.returncode == 0, done.stderr
    return [d for d in yaml.safe_load_all(done.stdout) if d]


def of_kind(kind: str, documents: list[Json]) -> list[Json]:
    return [d for d in documents if d["kind"] == kind]


@pytest.mark.parametrize("values", [REAL, DEV, REAL | {"watchNamespaces": ["a", "b"]}])
def test_lint_is_clean(values: dict[str, Any]) -> None:
    done = helm("lint", "--strict", CHART, values=values)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "s3.bucket is needed"),
        ({"s3": {"bucket": "jobs"}}, "redis.url is needed"),
        (REAL | {"s3": {"buckt": "jobs"}}, "buckt"),
        (REAL | {"redis": {"url": "redis.example:6379"}}, "url"),
        (
            REAL | {"operator": {"replicas": 2}, "leaderElection": {"enabled": False}},
            "needs leader",
        ),
        (REAL | {"webhook": {"url": "hooks.example.com"}}, "url"),
        (REAL | {"serviceAccount": {"create": False}}, "serviceAccount.name is needed"),
        (REAL | {"gateway": {"auth": {"mode": "tokens"}}}, "gateway.auth.tokensSecret"),
        (
            REAL | {"watchNamespaces": ["a"], "gateway": {"namespace": "b"}},
            "is not in watchNamespaces",
        ),
    ],
)
def test_wrong_values_are_refused_with_a_cure(values: dict[str, Any], message: str) -> None:
    done = helm("template", "nanogrid", CHART, values=values)

    assert done.returncode != 0
    assert message in done.stderr


JOBS = [
    (["nanogrid.io"], ["executionjobs"], ["get", "list", "watch", "delete"], None),
    (["nanogrid.io"], ["executionjobs/status"], ["patch"], None),
    (["nanogrid.io"], ["functions"], ["get"], None),
    (["nanogrid.io"], ["functions/status"], ["patch"], None),
    ([""], ["pods"], ["get", "list", "watch", "create", "delete"], None),
    ([""], ["events"], ["create", "list"], None),
]
SECRETS = [([""], ["secrets"], ["create"], None)]  # sessions' tokens, copies of the S3 keys
REPLICA = [([""], ["secrets"], ["get", "patch"], ["nanogrid-s3"])]
ROUTER = [
    (["nanogrid.io"], ["executionjobs"], ["list", "watch"], None),
    ([""], ["pods"], ["list", "watch"], None),
]
EXPOSE = [
    ([""], ["services"], ["create", "delete"], None),
    (["networking.k8s.io"], ["ingresses"], ["create", "delete"], None),
    (["elbv2.k8s.aws"], ["targetgroupbindings"], ["create", "delete"], None),
]
LEASE = [
    (["coordination.k8s.io"], ["leases"], ["create"], None),
    (["coordination.k8s.io"], ["leases"], ["get", "patch"], ["nanogrid"]),
]
REVIEW = [(["authentication.k8s.io"], ["tokenreviews"], ["create"], None)]

GATEWAY = [
    (["nanogrid.io"], ["executionjobs"], ["get", "list", "watch", "create", "patch"], None),
    (["nanogrid.io"], ["functions"], ["get", "list", "create", "patch", "delete"], None),
    ([""], ["pods/log"], ["get"], None),
]
REVIEWS = [*REVIEW, (["authorization.k8s.io"], ["subjectaccessreviews"], ["create"], None)]


def rules(role: Json) -> list[Any]:
    return [
        (r["apiGroups"], r["resources"], r["verbs"], r.get("resourceNames")) for r in role["rules"]
    ]


def test_rights_are_exactly_the_reviewed_ones() -> None:
    roles = {r["metadata"]["name"]: rules(r) for r in of_kind("ClusterRole", render(REAL))}

    assert roles == {
        "nanogrid": JOBS + SECRETS + REPLICA,
        "nanogrid-gateway-reviews": REVIEWS,
        "nanogrid-router": ROUTER,
        "nanogrid-tokenreview": REVIEW,
    }


def test_the_gateway_has_rights_in_its_own_namespace_and_beside_them_reviews() -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        (REAL, "platform"),
        (REAL | {"watchNamespaces": ["a", "b"]}, "a"),
        (REAL | {"gateway": {"namespace": "functions"}}, "functions"),
    ]
    for values, namespace in cases:
        documents = render(values)
        (role,) = [
            r for r in of_kind("Role", documents) if r["metadata"]["name"] == "nanogrid-gateway"
        ]
        assert (role["metadata"]["namespace"], rules(role)) == (namespace, GATEWAY)

    tokens = REAL | {"gateway": {"auth": {"mode": "tokens", "tokensSecret": "t"}}}
    names = {r["metadata"]["name"] for r in of_kind("ClusterRole", render(tokens))}
    assert "nanogrid-gateway-reviews" not in names


def test_ways_in_of_sessions_bring_their_rights_and_no_others() -> None:
    values = REAL | {"sessions": {"expose": ["Service", "Ingress", "TargetGroupBinding"]}}
    roles = {r["metadata"]["name"]: rules(r) for r in of_kind("ClusterRole", render(values))}

    assert roles["nanogrid"] == JOBS + SECRETS + REPLICA + EXPOSE


def test_the_lease_is_the_only_right_in_the_releases_own_namespace() -> None:
    alone = REAL | {"gateway": {"enabled": False}}
    (role,) = of_kind("Role", render(alone))
    off = render(alone | {"leaderElection": {"enabled": False}})

    assert (role["metadata"]["namespace"], rules(role)) == ("platform", LEASE)
    assert of_kind("Role", off) == []
    assert deployment_of(off)["spec"]["strategy"] == {"type": "Recreate"}


def test_with_a_role_for_s3_and_no_sessions_there_are_no_rights_on_secrets() -> None:
    values = REAL | {"s3": {"bucket": "jobs"}, "sessions": {"enabled": False}}
    roles = {r["metadata"]["name"]: rules(r) for r in of_kind("ClusterRole", render(values))}

    assert roles == {
        "nanogrid": JOBS,
        "nanogrid-gateway-reviews": REVIEWS,
        "nanogrid-tokenreview": REVIEW,
    }


def test_watched_namespaces_get_roles_and_nothing_is_cluster_wide_but_reviews() -> None:
    documents = render(REAL | {"watchNamespaces": ["a", "b"]})

    roles = [
        (r["metadata"]["name"], r["metadata"]["namespace"])
        for r in of_kind("Role", documents)
        if rules(r) != LEASE
    ]
    assert sorted(roles) == [
        ("nanogrid", "a"),
        ("nanogrid", "b"),
        ("nanogrid-gateway", "a"),
        ("nanogrid-router", "a"),
        ("nanogrid-router", "b"),
    ]
    assert {r["metadata"]["name"] for r in of_kind("ClusterRole", documents)} == {
        "nanogrid-gateway-reviews",
        "nanogrid-tokenreview",
    }


def deployment_of(documents: list[Json]) -> Json:
    """The operator's own Deployment."""
    (found,) = (
        d
        for d in of_kind("Deployment", documents)
        if d["metadata"]["labels"]["app.kubernetes.io/component"] == "operator"
    )
    return found


def operator_env(values: dict[str, Any]) -> dict[str, Any]:
    (container,) = deployment_of(render(values))["spec"]["template"]["spec"]["containers"]
    return {e["name"]: e.get("value", e.get("valueFrom")) for e in container["env"]}


def test_the_webhooks_key_comes_from_its_secret() -> None:
    webhook = {
        "url": "https://hooks.example.com/nanogrid",
        "existingSecret": "webhook-key",
        "allowedUrlPrefixes": ["https://a.example/x", "https://b.example"],
    }
    without, with_one = operator_env(REAL), operator_env(REAL | {"webhook": webhook})

    assert (without["NANOGRID_WEBHOOK_URL"], "NANOGRID_WEBHOOK_KEY" in without) == ("", False)
    assert with_one["NANOGRID_WEBHOOK_URL"] == webhook["url"]
    assert with_one["NANOGRID_WEBHOOK_KEY"] == {
        "secretKeyRef": {"name": "webhook-key", "key": "key"}
    }
    assert with_one["NANOGRID_WEBHOOK_ALLOWED_URL_PREFIXES"] == (
        "https://a.example/x https://b.example"
    )


def notes(gateway: dict[str, Any]) -> str:
    words = ("install", "nanogrid", CHART, "--namespace", "platform", "--dry-run=client")
    done = helm(*words, values=REAL | {"gateway": gateway})
    assert done.returncode == 0, done.stderr
    return done.stdout.partition("NOTES:")[2]


def test_the_notes_say_how_to_reach_the_gateway_that_is_there() -> None:
    inside = "http://nanogrid-gateway.platform.svc:8080"
    plain = notes({})
    outside = notes({"ingress": {"enabled": True}, "auth": {"audience": "functions"}})
    open_to_all = notes({"auth": {"mode": "none"}})

    assert inside in plain
    assert "port-forward svc/nanogrid-gateway" in plain
    assert "kubectl -n platform create token my-client\n" in plain
    assert "get ingress nanogrid-gateway" in outside
    assert "create token my-client --audience functions" in outside
    assert "WARNING: gateway.auth.mode is none" in open_to_all
    assert "gateway" not in notes({"enabled": False})


def test_the_web_pages_replicas_share_one_key_which_can_be_given() -> None:
    for values, secret, made in (
        (REAL, "nanogrid-web-key", True),
        (REAL | {"gateway": {"web": {"existingKeySecret": "mine"}}}, "mine", False),
    ):
        documents = render(values)
        (gateway,) = [
            d
            for d in of_kind("Deployment", documents)
            if d["metadata"]["name"].endswith("-gateway")
        ]
        (container,) = gateway["spec"]["template"]["spec"]["containers"]
        (key,) = [e for e in container["env"] if e["name"] == "NANOGRID_WEB_KEY"]
        assert key["valueFrom"] == {"secretKeyRef": {"name": secret, "key": "key"}}
        assert (secret in {d["metadata"]["name"] for d in of_kind("Secret", documents)}) is made


def test_uninstall_keeps_the_crd_and_with_it_all_jobs() -> None:
    crds = of_kind("CustomResourceDefinition", render(REAL))

    assert {crd["spec"]["names"]["kind"] for crd in crds} == {"ExecutionJob", "Function"}
    for crd in crds:
        assert crd["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert not of_kind("CustomResourceDefinition", render(REAL | {"crds": {"install": False}}))


def test_every_pod_is_restricted() -> None:
    for deployment in of_kind("Deployment", render(DEV)):
        pod = deployment["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
