"""The chart: lint, rendered permissions and security, and helpful errors."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from nanogrid.api.job import MAX_TTL_SECONDS
from nanogrid.types import Json
from support.helm import CHART, CLUSTER_SCOPED, DEV, REAL, helm, manifests, named, of_kind, pod_spec

pytestmark = pytest.mark.security

NAMESPACED = REAL | {
    "rbac": {"clusterWide": False},
    "watchNamespaces": ["a", "b"],
    "gateway": {"auth": {"mode": "tokens", "tokensSecret": "t"}},
}
TTL = "NANOGRID_TTL_SECONDS_AFTER_FINISHED"
REPLICATING = REAL | {"s3": REAL["s3"] | {"replicateSecret": True}}


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The pairs as a dict; readers of JSON and YAML keep only the last of equal keys."""
    keys = [key for key, _ in pairs]
    assert len(set(keys)) == len(keys), f"twice: {keys}"
    return dict(pairs)


def test_no_value_and_no_variable_is_there_twice() -> None:
    json.loads((Path(CHART) / "values.schema.json").read_text(), object_pairs_hook=unique)
    tree = yaml.compose((Path(CHART) / "values.yaml").read_text())
    assert isinstance(tree, yaml.MappingNode)
    unique([(key.value, value) for key, value in tree.value])
    for deployment in of_kind("Deployment", render(REAL) + render(DEV)):
        for container in pod_spec(deployment)["containers"]:
            unique([(variable["name"], variable) for variable in container.get("env", [])])


def render(values: dict[str, Any]) -> list[Json]:
    """The chart's manifests in the namespace ``platform``."""
    return manifests("--namespace", "platform", values=values)


@pytest.mark.parametrize("values", [REAL, DEV, REAL | {"watchNamespaces": ["a", "b"]}])
def test_lint_is_clean(values: dict[str, Any]) -> None:
    done = helm("lint", "--strict", CHART, values=values)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"network": REAL["network"]}, "s3.bucket is required"),
        ({"network": REAL["network"], "s3": {"bucket": "jobs"}}, "redis.url is required"),
        ({"s3": REAL["s3"], "redis": REAL["redis"]}, "network.s3.peers is required"),
        (REAL | {"s3": {"buckt": "jobs"}}, "buckt"),
        (REAL | {"redis": {"url": "redis.example:6379"}}, "url"),
        (
            REAL | {"operator": {"replicas": 2}, "leaderElection": {"enabled": False}},
            "requires leader",
        ),
        (REAL | {"webhook": {"url": "hooks.example.com"}}, "url"),
        (REAL | {"s3": REAL["s3"] | {"caBundle": "/etc/ssl/ca.pem"}}, "caBundle"),
        (REAL | {"s3": REAL["s3"] | {"proxy": "http://user:secret@proxy:3128"}}, "proxy"),
        (REAL | {"sandbox": {"imagePullSecrets": [{"name": "registry"}]}}, "imagePullSecrets"),
        (REAL | {"serviceAccount": {"create": False}}, "serviceAccount.name is required"),
        (REAL | {"gateway": {"auth": {"mode": "tokens"}}}, "gateway.auth.tokensSecret"),
        (REAL | {"tenancy": {"defaults": {"root": "shared/"}}}, "root"),
        (REAL | {"tenancy": {"defaults": {"allow": {"image": ["x"]}}}}, "image"),
        (REAL | {"tenancy": {"tenants": {"Team_A": {}}}}, "Team_A"),
        (REAL | {"tenancy": {"tenants": {"team-a": {"root": "/x"}}}}, "root"),
        (
            REAL | {"watchNamespaces": ["a"], "gateway": {"namespace": "b"}},
            "is not in watchNamespaces",
        ),
        (REAL | {"rbac": {"clusterWide": False}}, "requires watchNamespaces"),
        (
            REAL | {"rbac": {"clusterWide": False}, "watchNamespaces": ["a"]},
            "requires gateway.auth.mode=tokens",
        ),
        (
            NAMESPACED | {"gateway": NAMESPACED["gateway"] | {"web": {"allNamespaces": True}}},
            "allNamespaces=true requires rbac.clusterWide=true",
        ),
        (
            REAL
            | {
                "gateway": {
                    "auth": {"mode": "tokens", "tokensSecret": "t"},
                    "web": {"allNamespaces": True},
                }
            },
            "allNamespaces=true requires gateway.auth.mode=kubernetes: with mode tokens",
        ),
        (
            REAL | {"gateway": {"auth": {"mode": "none"}, "web": {"allNamespaces": True}}},
            "allNamespaces=true requires gateway.auth.mode=kubernetes: with mode none",
        ),
        (REAL | {"gateway": {"web": {"allNamespaces": "yes"}}}, "allNamespaces"),
        (
            REAL | {"router": {"auth": {"mode": "header"}}, "network": {"policies": False}},
            "router.auth.mode header needs network.policies",
        ),
        (
            REAL | {"router": {"auth": {"mode": "header"}}},
            "router.auth.mode header needs router.auth.peers",
        ),
    ],
)
def test_invalid_values_are_rejected_with_a_hint(values: dict[str, Any], message: str) -> None:
    done = helm("template", "nanogrid", CHART, values=values)

    assert done.returncode != 0
    assert message in done.stderr


JOBS = [
    (["nanogrid.io"], ["executionjobs"], ["get", "list", "watch", "delete"], None),
    (["nanogrid.io"], ["executionjobs/status"], ["patch"], None),
    (["nanogrid.io"], ["functions"], ["get"], None),
    (["nanogrid.io"], ["functions/status"], ["patch"], None),
    (["nanogrid.io"], ["executionpools"], ["get", "list", "watch"], None),
    (["nanogrid.io"], ["executionpools/status"], ["patch"], None),
    ([""], ["pods"], ["get", "list", "watch", "create", "patch", "delete"], None),
    ([""], ["events"], ["create", "get", "list", "update"], None),
]
POLICIES = [
    (["networking.k8s.io"], ["networkpolicies"], ["create"], None),
    (
        ["networking.k8s.io"],
        ["networkpolicies"],
        ["get", "update"],
        [
            f"nanogrid-sandbox-{name}"
            for name in ("ingress", "egress", "internet", "exposed", "router", "proxy")
        ],
    ),
]
SECRETS = [([""], ["secrets"], ["create"], None)]  # session tokens and copies of the S3 keys
REPLICA = [([""], ["secrets"], ["get", "patch"], ["nanogrid-s3"])]
ROUTER = [
    (["nanogrid.io"], ["executionjobs"], ["list", "watch"], None),
    ([""], ["pods"], ["list", "watch"], None),
]
EXPOSE = [
    # An Ingress or TargetGroupBinding becomes the owner of the Service.
    ([""], ["services"], ["create", "delete", "patch"], None),
    (["networking.k8s.io"], ["ingresses"], ["create", "delete", "get"], None),
    (["elbv2.k8s.aws"], ["targetgroupbindings"], ["create", "delete", "get"], None),
]
LEASE = [
    (["coordination.k8s.io"], ["leases"], ["create"], None),
    (["coordination.k8s.io"], ["leases"], ["get", "patch"], ["nanogrid"]),
    ([""], ["pods"], ["get"], None),
]
TOKEN_REVIEW = "platform:nanogrid-tokenreview"
TENANTS = [
    (["nanogrid.io"], ["nanogridtenants"], ["list"], None),
    ([""], ["events"], ["create"], None),
]
NETWORK = [
    ([""], ["configmaps"], ["get", "patch"], ["nanogrid-network"]),
    ([""], ["pods"], ["create"], None),
    ([""], ["pods"], ["get", "delete"], ["nanogrid-denied-probe", "nanogrid-allowed-probe"]),
]
GENERATED = [f"nanogrid-{name}-key" for name in ("result", "session", "web")]
KEYS = [
    ([""], ["secrets"], ["create"], None),
    ([""], ["secrets"], ["get"], GENERATED),
]
OWN_KEYS = {  # all keys are Secrets of the platform team
    "results": {"existingKeySecret": "r"},
    "sessions": {"existingKeySecret": "s"},
    "gateway": {"web": {"existingKeySecret": "w"}},
}
REVIEW = [(["authentication.k8s.io"], ["tokenreviews"], ["create"], None)]

GATEWAY = [
    (["nanogrid.io"], ["executionjobs"], ["get", "list", "watch", "create", "patch"], None),
    (["nanogrid.io"], ["functions"], ["get", "list", "create", "patch", "delete"], None),
    ([""], ["pods/log"], ["get"], None),
]
WEB = [
    (["nanogrid.io"], ["executionjobs"], ["get", "list", "watch"], None),
    (["nanogrid.io"], ["functions"], ["get", "list"], None),
    ([""], ["pods/log"], ["get"], None),
    (["authorization.k8s.io"], ["subjectaccessreviews"], ["create"], None),
]
ACCESS = [(["authorization.k8s.io"], ["localsubjectaccessreviews"], ["create"], None)]
READ = ["get", "list", "watch"]
WRITE = [*READ, "create", "delete", "deletecollection", "patch", "update"]
USERS = {  # added to the roles of Kubernetes with the same names
    f"platform:nanogrid-{role}": [
        (["nanogrid.io"], ["executionjobs", "executionpools", "functions"], verbs, None)
    ]
    for role, verbs in (("view", READ), ("edit", WRITE), ("admin", WRITE))
} | {
    "platform:nanogrid-user": [
        (["nanogrid.io"], ["executionjobs", "functions"], WRITE, None),
        (["nanogrid.io"], ["executionpools"], READ, None),
        ([""], ["pods", "events"], READ, None),
        ([""], ["pods/log"], ["get"], None),
    ]
}


def rules(role: Json) -> list[Any]:
    return [
        (r["apiGroups"], r["resources"], r["verbs"], r.get("resourceNames")) for r in role["rules"]
    ]


def test_permissions_are_exactly_the_reviewed_ones() -> None:
    roles = {r["metadata"]["name"]: rules(r) for r in of_kind("ClusterRole", render(REPLICATING))}

    assert roles == {
        "platform:nanogrid": JOBS + POLICIES + SECRETS + REPLICA,
        "platform:nanogrid-gateway-reviews": REVIEW,
        "platform:nanogrid-router": ROUTER,
        TOKEN_REVIEW: REVIEW,
        **USERS,
    }


def test_the_gateway_has_permissions_in_its_namespace_and_for_reviews() -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        (REAL, "platform"),
        (REAL | {"watchNamespaces": ["a", "b"]}, "a"),
        (REAL | {"gateway": {"namespace": "functions"}}, "functions"),
    ]
    for values, namespace in cases:
        documents = render(values)
        own = "" if namespace == "platform" else "platform:"
        role = named("Role", f"{own}nanogrid-gateway", documents)
        assert (role["metadata"]["namespace"], rules(role)) == (namespace, GATEWAY + ACCESS)

    tokens = render(REAL | {"gateway": {"auth": {"mode": "tokens", "tokensSecret": "t"}}})
    assert rules(named("Role", "nanogrid-gateway", tokens)) == GATEWAY
    names = {r["metadata"]["name"] for r in of_kind("ClusterRole", tokens)}
    assert "platform:nanogrid-gateway-reviews" not in names


def test_the_page_over_all_namespaces_adds_exactly_the_rights_that_it_uses() -> None:
    values = REAL | {"gateway": {"web": {"allNamespaces": True}}}
    before, documents = render(REAL), render(values)

    def roles(kind: str, rendered: list[Json]) -> dict[str, Any]:
        return {r["metadata"]["name"]: rules(r) for r in of_kind(kind, rendered)}

    added = {"platform:nanogrid-gateway-web": WEB}
    assert roles("ClusterRole", documents) == roles("ClusterRole", before) | added
    assert roles("Role", documents) == roles("Role", before)
    binding = named("ClusterRoleBinding", "platform:nanogrid-gateway-web", documents)
    account = {"kind": "ServiceAccount", "name": "nanogrid-gateway", "namespace": "platform"}
    assert (binding["roleRef"]["name"], binding["subjects"]) == (
        "platform:nanogrid-gateway-web",
        [account],
    )
    for rendered, value in ((before, "false"), (documents, "true")):
        assert env_of(rendered, "nanogrid-gateway")["NANOGRID_WEB_ALL_NAMESPACES"]["value"] == value


def test_kubernetes_adds_the_roles_of_users_to_its_own() -> None:
    documents = render(REAL)
    for role in ("view", "edit", "admin"):
        labels = named("ClusterRole", f"platform:nanogrid-{role}", documents)["metadata"]["labels"]
        aggregated = [k for k in labels if k.startswith("rbac.authorization.k8s.io/")]
        assert aggregated == [f"rbac.authorization.k8s.io/aggregate-to-{role}"]
    alone = named("ClusterRole", "platform:nanogrid-user", documents)["metadata"]["labels"]
    assert not [key for key in alone if "aggregate" in key]

    off = render(REAL | {"rbac": {"aggregateClusterRoles": False}})
    names = {r["metadata"]["name"] for r in of_kind("ClusterRole", off)}
    assert names == {
        "platform:nanogrid",
        "platform:nanogrid-gateway-reviews",
        "platform:nanogrid-router",
        TOKEN_REVIEW,
    }


def test_a_namespaced_installation_has_no_right_outside_its_namespaces() -> None:
    documents = render(NAMESPACED)
    scoped = {d["metadata"].get("namespace", "platform") for d in documents}
    cluster_scoped = [d["kind"] for d in documents if d["kind"] in CLUSTER_SCOPED]
    bound = [d["roleRef"]["kind"] for d in of_kind("RoleBinding", documents)]

    assert scoped == {"platform", "a", "b"}
    assert cluster_scoped == []
    assert set(bound) == {"Role"}
    # The same check finds objects and rights of a normal installation.
    assert {d["kind"] for d in render(REAL) if d["kind"] in CLUSTER_SCOPED} == {
        "ClusterRole",
        "ClusterRoleBinding",
        "CustomResourceDefinition",
        "PriorityClass",
    }


def test_a_namespaced_installation_authenticates_reports_without_reviews() -> None:
    everywhere, namespaced = operator_env(REAL), operator_env(NAMESPACED)
    secret = "nanogrid-report-key"

    assert "NANOGRID_REPORT_KEY" not in everywhere
    reference = {"name": secret, "key": "key", "optional": True}
    assert namespaced["NANOGRID_REPORT_KEY"] == {"secretKeyRef": reference}
    assert json.loads(namespaced["NANOGRID_KEY_SECRETS"])["NANOGRID_REPORT_KEY"] == secret
    without_sessions = render(NAMESPACED | {"sessions": {"enabled": False}})
    (role,) = [
        r
        for r in of_kind("Role", without_sessions)
        if (r["metadata"]["name"], r["metadata"]["namespace"]) == ("platform:nanogrid", "a")
    ]
    assert rules(role) == JOBS + POLICIES + SECRETS


def test_session_entry_points_add_their_permissions_only() -> None:
    values = REAL | {"sessions": {"expose": ["Service", "Ingress", "TargetGroupBinding"]}}
    roles = {r["metadata"]["name"]: rules(r) for r in of_kind("ClusterRole", render(values))}

    assert roles["platform:nanogrid"] == JOBS + POLICIES + SECRETS + EXPOSE
    only = REAL | {"sessions": {"expose": ["Service"]}}
    roles = {r["metadata"]["name"]: rules(r) for r in of_kind("ClusterRole", render(only))}
    services = ([""], ["services"], ["create", "delete"], None)
    assert roles["platform:nanogrid"] == [*JOBS, *POLICIES, *SECRETS, services]


def test_lease_tenants_and_network_are_the_only_permissions_in_the_releases_namespace() -> None:
    alone = REAL | OWN_KEYS | {"gateway": {"enabled": False}}
    roles = of_kind("Role", render(alone))
    off = render(alone | {"leaderElection": {"enabled": False}, "network": {"policies": False}})

    assert {r["metadata"]["namespace"] for r in roles} == {"platform"}
    assert [rules(r) for r in roles] == [NETWORK, TENANTS, LEASE]
    assert [rules(r) for r in of_kind("Role", off)] == [NETWORK[:1], TENANTS]
    keys = named("Role", "nanogrid-keys", render(REAL))
    assert (keys["metadata"]["namespace"], rules(keys)) == ("platform", KEYS)
    assert deployment_of(off)["spec"]["strategy"] == {"type": "Recreate"}


def test_the_holder_of_the_lease_names_its_pod_and_uid() -> None:
    named_by = {"NANOGRID_IDENTITY": "metadata.name", "NANOGRID_POD_UID": "metadata.uid"}
    on, off = operator_env(REAL), operator_env(REAL | {"leaderElection": {"enabled": False}})

    assert {key: on[key] for key in named_by} == {
        key: {"fieldRef": {"fieldPath": field}} for key, field in named_by.items()
    }
    assert named_by.keys() & off.keys() == set()


def test_with_a_role_for_s3_and_no_sessions_secrets_are_not_accessible() -> None:
    values = REAL | {
        "s3": {"bucket": "jobs"},
        "sessions": {"enabled": False},
        "network": {"policies": False},
    }
    roles = {r["metadata"]["name"]: rules(r) for r in of_kind("ClusterRole", render(values))}

    assert roles == {
        "platform:nanogrid": JOBS,
        "platform:nanogrid-gateway-reviews": REVIEW,
        TOKEN_REVIEW: REVIEW,
        **USERS,
    }


def test_watched_namespaces_have_roles_and_only_reviews_are_cluster_wide() -> None:
    documents = render(REAL | {"watchNamespaces": ["a", "b"]})

    roles = [
        (r["metadata"]["name"], r["metadata"]["namespace"])
        for r in of_kind("Role", documents)
        if rules(r) not in (LEASE, TENANTS, NETWORK, KEYS)
    ]
    assert sorted(roles) == [
        ("platform:nanogrid", "a"),
        ("platform:nanogrid", "b"),
        ("platform:nanogrid-gateway", "a"),
        ("platform:nanogrid-router", "a"),
        ("platform:nanogrid-router", "b"),
    ]
    assert {r["metadata"]["name"] for r in of_kind("ClusterRole", documents)} == {
        "platform:nanogrid-gateway-reviews",
        TOKEN_REVIEW,
        *USERS,
    }


def deployment_of(documents: list[Json]) -> Json:
    """The operator's Deployment."""
    (deployment,) = (
        d
        for d in of_kind("Deployment", documents)
        if d["metadata"]["labels"].get("app.kubernetes.io/component") == "operator"
    )
    return deployment


def operator_env(values: dict[str, Any]) -> dict[str, Any]:
    (container,) = pod_spec(deployment_of(render(values)))["containers"]
    return {e["name"]: e.get("value", e.get("valueFrom")) for e in container["env"]}


def test_the_webhook_key_comes_from_its_secret() -> None:
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


def test_pull_secrets_ca_and_proxy_reach_sandbox_pods() -> None:
    pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    s3 = REAL["s3"] | {"caBundle": pem, "proxy": "http://proxy.example:3128"}
    values = REAL | {"s3": s3, "sandbox": {"imagePullSecrets": ["registry", "mirror"]}}
    operator = operator_env(values)
    assert operator["NANOGRID_SANDBOX_PULL_SECRETS"] == "registry,mirror"
    (gateway,) = pod_spec(named("Deployment", "nanogrid-gateway", render(values)))["containers"]
    for env in (operator, {e["name"]: e.get("value") for e in gateway["env"]}):
        assert env["NANOGRID_S3_CA_BUNDLE"] == pem
        assert env["NANOGRID_S3_PROXY"] == "http://proxy.example:3128"


def test_writes_of_running_memory_have_a_limit_that_can_be_set() -> None:
    name = "NANOGRID_MEMORY_WRITES_PER_SECOND"
    none = operator_env(REAL | {"operator": {"memoryWritesPerSecond": 0}})
    refused = helm(
        "template", "x", CHART, values=REAL | {"operator": {"memoryWritesPerSecond": -1}}
    )

    assert (operator_env(REAL)[name], none[name]) == ("5", "0")
    assert refused.returncode != 0
    assert "memoryWritesPerSecond" in refused.stderr


def test_tenants_are_objects_in_the_releases_namespace() -> None:
    tenants = {"team-a": {"root": "", "allow": {"secrets": ["database"]}}, "team-b": {}}
    found = of_kind("NanoGridTenant", render(REAL | {"tenancy": {"tenants": tenants}}))

    assert {t["metadata"]["name"]: t["spec"] for t in found} == tenants
    assert {t["metadata"]["namespace"] for t in found} == {"platform"}
    assert of_kind("NanoGridTenant", render(REAL)) == []


def test_the_operator_knows_what_the_platform_chose() -> None:
    defaults = {"allow": {"images": ["reg/team/**"]}, "limits": {"jobs": 9}}
    found = operator_env(
        REAL
        | {
            "tenancy": {"defaults": defaults},
            "gateway": {"runtimes": {"python": "", "r": "reg/r:4"}},
            "image": {"operator": {"repository": "reg/operator", "tag": "1"}},
            "imagePullSecrets": [{"name": "pull"}],
        }
    )

    assert json.loads(found["NANOGRID_TENANT_DEFAULTS"]) == defaults
    assert found["NANOGRID_NAMESPACE"] == {"fieldRef": {"fieldPath": "metadata.namespace"}}
    assert found["NANOGRID_RUNTIME_IMAGES"] == "reg/r:4"
    assert found["NANOGRID_PLATFORM_IMAGES"] == "reg/operator:1,nanogrid-gateway:0.1.0"
    assert set(found["NANOGRID_RESERVED_SECRETS"].split(",")) == {
        "s3-keys",
        "redis-auth",
        "nanogrid-report-key",
        "nanogrid-result-key",
        "nanogrid-session-key",
        "nanogrid-egress-key",
        "nanogrid-web-key",
        "pull",
    }


@pytest.mark.parametrize(
    ("sandbox", "message"),
    [
        ({"memory": "0"}, "sandbox.memory is 0: memory is 16Mi at least"),
        ({"memory": "512m"}, "sandbox.memory is 512m: the unit is bytes"),
        ({"memory": "2Mi"}, "sandbox.memory is 2Mi: memory is 16Mi at least"),
        ({"cpu": "1m"}, "sandbox.cpu is 1m: cpu is 10m at least"),
        ({"cpuRequest": "0"}, "sandbox.cpuRequest is 0: cpu is 1m at least"),
        ({"agent": {"memory": "32Mi"}}, "sandbox.agent.memory is 32Mi: memory is 64Mi at least"),
        ({"tmpSize": "0"}, "sandbox.tmpSize is 0: the size is 1Mi at least"),
        ({"ephemeralStorageRequest": "64m"}, "sandbox.ephemeralStorageRequest is 64m: the unit"),
    ],
)
def test_amounts_that_start_nothing_are_refused(sandbox: dict[str, Any], message: str) -> None:
    done = helm("template", "nanogrid", CHART, values=REAL | {"sandbox": sandbox})

    assert done.returncode != 0
    assert message in done.stderr


@pytest.mark.parametrize(
    ("sandbox", "env"),
    [
        ({}, {}),
        ({"ttlSecondsAfterFinished": None}, {}),
        ({"ttlSecondsAfterFinished": 0}, {TTL: "0"}),
        ({"ttlSecondsAfterFinished": MAX_TTL_SECONDS}, {TTL: str(MAX_TTL_SECONDS)}),
    ],
)
def test_the_default_time_to_live_reaches_the_operator(
    sandbox: dict[str, Any], env: dict[str, str]
) -> None:
    found = operator_env(REAL | {"sandbox": sandbox})

    assert {name: value for name, value in found.items() if name == TTL} == env


@pytest.mark.parametrize("value", [-1, 1.5, "3600", MAX_TTL_SECONDS + 1])
def test_a_default_time_to_live_that_no_job_can_have_is_refused(value: Any) -> None:
    sandbox = {"ttlSecondsAfterFinished": value}

    done = helm("template", "nanogrid", CHART, values=REAL | {"sandbox": sandbox})

    assert done.returncode != 0
    assert "ttlSecondsAfterFinished" in done.stderr


@pytest.mark.parametrize("limits", [{"memory": "8Mi"}, {"memory": 5}, {"cpu": "0"}])
def test_sums_of_tenants_in_which_no_job_fits_are_refused(limits: dict[str, Any]) -> None:
    values = REAL | {"tenancy": {"defaults": {"limits": limits}}}

    done = helm("template", "nanogrid", CHART, values=values)

    assert done.returncode != 0
    assert "tenancy.defaults.limits." in done.stderr


@pytest.mark.parametrize(
    "sandbox",
    [{"memory": "16Mi", "cpu": "10m"}, {"memory": "1e9", "cpu": "0.5"}, {"memory": "1Gi"}],
)
def test_amounts_of_every_form_are_accepted(sandbox: dict[str, Any]) -> None:
    assert operator_env(REAL | {"sandbox": sandbox})["NANOGRID_DEFAULT_MEMORY"] == sandbox["memory"]


@pytest.mark.parametrize(
    ("values", "replicated"),
    [
        (REAL, False),
        (DEV, True),
        (REPLICATING, True),
        (REAL | {"tenancy": {"singleTenant": True}}, True),
        (DEV | {"s3": {"replicateSecret": False}}, False),
        (
            {k: v for k, v in REAL.items() if k != "s3"}
            | {"s3": {"bucket": "jobs"}, "tenancy": {"singleTenant": True}},
            False,
        ),
    ],
    ids=["keys", "dev services", "asked for", "single tenant", "refused", "a role instead of keys"],
)
def test_keys_are_copied_to_other_namespaces_only_where_one_team_has_all(
    values: dict[str, Any], replicated: bool
) -> None:
    (role,) = [
        rules(r)
        for r in of_kind("ClusterRole", render(values))
        if r["metadata"]["name"] == "platform:nanogrid"
    ]
    setting = operator_env(values).get("NANOGRID_S3_SECRET_REPLICATE", "false")

    assert (setting == "true", REPLICA[0] in role) == (replicated, replicated)


@pytest.mark.parametrize(
    ("values", "compatible", "root"),
    [
        ({}, "platform", ""),
        ({"gateway": {"namespace": "functions"}}, "functions", ""),
        ({"tenancy": {"compatibilityNamespace": "older"}}, "older", "platform/"),
        ({"tenancy": {"compatibilityNamespace": "-"}}, "", "platform/"),
    ],
)
def test_operator_gateway_and_router_agree_on_the_compatibility_namespace(
    values: dict[str, Any], compatible: str, root: str
) -> None:
    envs = {}
    for deployment in of_kind("Deployment", render(REAL | values)):
        (container,) = pod_spec(deployment)["containers"]
        envs[container["name"]] = {e["name"]: e.get("value") for e in container["env"]}

    found = {name: env["NANOGRID_COMPATIBILITY_NAMESPACE"] for name, env in envs.items()}
    assert found == dict.fromkeys(("operator", "gateway", "router"), compatible)
    assert envs["gateway"]["NANOGRID_S3_ROOT"] == root


@pytest.mark.parametrize(
    ("gateway", "wait"), [({}, "25"), ({"maxWaitSeconds": 10}, "10"), ({"waitSeconds": 5}, "5")]
)
def test_a_short_maximum_shortens_the_default_wait(gateway: dict[str, Any], wait: str) -> None:
    deployment = named("Deployment", "nanogrid-gateway", render(REAL | {"gateway": gateway}))
    (container,) = pod_spec(deployment)["containers"]

    assert {"name": "NANOGRID_WAIT_SECONDS", "value": wait} in container["env"]


def notes(gateway: dict[str, Any]) -> str:
    args = ("install", "nanogrid", CHART, "--namespace", "platform", "--dry-run=client")
    done = helm(*args, values=REAL | {"gateway": gateway})
    assert done.returncode == 0, done.stderr
    return done.stdout.partition("NOTES:")[2]


def test_the_notes_explain_how_to_reach_the_gateway() -> None:
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


def test_all_replicas_share_one_web_key_which_can_be_set() -> None:
    for values, secret, generated in (
        (REAL, "nanogrid-web-key", True),
        (REAL | {"gateway": {"web": {"existingKeySecret": "mine"}}}, "mine", False),
    ):
        documents = render(values)
        keys = json.loads(operator_env(values)["NANOGRID_KEY_SECRETS"])
        (gateway,) = [
            d
            for d in of_kind("Deployment", documents)
            if d["metadata"]["name"].endswith("-gateway")
        ]
        (container,) = pod_spec(gateway)["containers"]
        (key,) = [e for e in container["env"] if e["name"] == "NANOGRID_WEB_KEY"]
        assert key["valueFrom"] == {"secretKeyRef": {"name": secret, "key": "key"}}
        assert (secret in keys.values()) is generated


def env_of(documents: list[Json], name: str) -> dict[str, Json]:
    """The environment of a Deployment's only container, by variable."""
    (container,) = pod_spec(named("Deployment", name, documents))["containers"]
    return {e["name"]: e for e in container["env"]}


def secret_ref(variable: Json) -> tuple[str, str]:
    ref = variable["valueFrom"]["secretKeyRef"]
    return ref["name"], ref["key"]


def test_the_key_of_results_is_random_or_given_and_only_the_operators() -> None:
    generated = render(REAL)
    given = render(REAL | {"results": {"existingKeySecret": "mine"}})

    for documents, secret in ((generated, "nanogrid-result-key"), (given, "mine")):
        variable = env_of(documents, "nanogrid")["NANOGRID_RESULT_KEY_MASTER"]
        assert secret_ref(variable) == (secret, "key")
        assert "NANOGRID_RESULT_KEY_MASTER" not in env_of(documents, "nanogrid-gateway")
    for documents, creates in ((generated, True), (given, False)):
        keys = json.loads(env_of(documents, "nanogrid")["NANOGRID_KEY_SECRETS"]["value"])
        assert ("NANOGRID_RESULT_KEY_MASTER" in keys) is creates


def test_without_a_cluster_each_rendering_has_the_same_bytes() -> None:
    args = ("template", "nanogrid", CHART, "--namespace", "platform")
    values = NAMESPACED | {"egressProxy": {"enabled": True}}

    first, second = helm(*args, values=values).stdout, helm(*args, values=values).stdout

    assert first == second
    assert "nanogrid-report-key" in first
    # The keys of devServices are random: only a demo has them.
    assert helm(*args, values=DEV).stdout != helm(*args, values=DEV).stdout


@pytest.mark.parametrize(
    ("values", "namespace"),
    [
        ({}, "platform"),
        ({"gateway": {"namespace": "functions"}}, "functions"),
        ({"tenancy": {"compatibilityNamespace": "older"}}, "older"),
    ],
)
def test_operator_and_gateway_agree_on_the_compatibility_namespace(
    values: Json, namespace: str
) -> None:
    documents = render(REAL | values)

    for deployment in ("nanogrid", "nanogrid-gateway"):
        variable = env_of(documents, deployment)["NANOGRID_COMPATIBILITY_NAMESPACE"]
        assert variable["value"] == namespace


def test_the_gateway_can_have_its_own_redis_user() -> None:
    own = {"redis": {"username": "reader", "existingSecret": "reader-auth"}}
    shared, separate = render(REAL), render(REAL | {"gateway": own})
    password = "NANOGRID_REDIS_PASSWORD"

    assert secret_ref(env_of(shared, "nanogrid-gateway")[password]) == ("redis-auth", "password")
    assert "NANOGRID_REDIS_USERNAME" not in env_of(shared, "nanogrid-gateway")
    gateway = env_of(separate, "nanogrid-gateway")
    assert secret_ref(gateway[password]) == ("reader-auth", "password")
    assert gateway["NANOGRID_REDIS_USERNAME"]["value"] == "reader"
    assert secret_ref(env_of(separate, "nanogrid")[password]) == ("redis-auth", "password")


IAM: Json = REAL | {
    "redis": {"url": "rediss://nanogrid@redis:6379/0", "iam": {"cacheName": "Results"}},
    "gateway": {"redis": {"username": "gateway"}},
}


@pytest.mark.parametrize("service", ["elasticache", "elasticache-serverless", "memorydb"])
def test_redis_can_take_roles_in_place_of_passwords(service: str) -> None:
    iam = IAM["redis"]["iam"] | {"service": service, "region": "eu-west-1"}
    documents = render(IAM | {"redis": IAM["redis"] | {"iam": iam}})

    for deployment, user in (("nanogrid", None), ("nanogrid-gateway", "gateway")):
        env = env_of(documents, deployment)
        own = {name: env.get(f"NANOGRID_REDIS_{name}", {}).get("value") for name in (
            "URL", "USERNAME", "IAM_CACHE", "IAM_SERVICE", "IAM_REGION",
        )}  # fmt: skip
        assert own == {
            "URL": "rediss://nanogrid@redis:6379/0", "USERNAME": user,
            "IAM_CACHE": "Results", "IAM_SERVICE": service, "IAM_REGION": "eu-west-1",
        }  # fmt: skip
        account = env["NANOGRID_REDIS_IAM_ACCOUNT"]["valueFrom"]["fieldRef"]["fieldPath"]
        assert account == "spec.serviceAccountName"
        assert "NANOGRID_REDIS_PASSWORD" not in env
    for deployment in ("nanogrid", "nanogrid-gateway"):
        assert not [n for n in env_of(render(REAL), deployment) if "REDIS_IAM" in n]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"redis": IAM["redis"] | {"url": "redis://nanogrid@redis/0"}}, "requires TLS"),
        ({"redis": IAM["redis"] | {"url": "rediss://redis/0"}}, "requires a user"),
        ({"redis": IAM["redis"] | {"url": "rediss://u:hush@redis/0"}}, "excludes passwords"),
        (
            {"redis": IAM["redis"] | {"mode": "Sentinel", "sentinel": {"masterName": "m"}}},
            "excludes redis.mode=Sentinel",
        ),
        ({"redis": IAM["redis"] | {"existingSecret": "redis-auth"}}, "excludes passwords"),
        ({"gateway": {"redis": {"existingSecret": "reader-auth"}}}, "excludes passwords"),
        ({"redis": IAM["redis"] | {"iam": {"cacheName": "a.example.com"}}}, "cacheName"),
        ({"redis": IAM["redis"] | {"iam": {"cacheName": "a", "service": "rds"}}}, "service"),
        ({"devServices": {"enabled": True}}, "requires TLS"),
    ],
)
def test_what_excludes_roles_for_redis_is_refused(values: Json, message: str) -> None:
    done = helm("template", "nanogrid", CHART, values=IAM | values)

    assert done.returncode != 0
    assert message in done.stderr
    assert "hush" not in done.stderr


def test_dev_services_have_random_keys_and_separate_redis_users() -> None:
    documents = render(DEV)
    secret = named("Secret", "nanogrid-dev", documents)
    keys = {name: base64.b64decode(text).decode() for name, text in secret["data"].items()}
    again = named("Secret", "nanogrid-dev", render(DEV))

    assert len(set(keys.values())) == 5
    assert not set(secret["data"].values()) & set(again["data"].values())
    users = dict(line.split(" ", 2)[1:] for line in secret["stringData"]["users.acl"].splitlines())
    assert set(users) == {"default", "operator", "gateway"}
    assert f">{keys['gatewayPassword']} %R~result:* " in users["gateway"]
    assert "+set" in users["operator"]
    assert "+set" not in users["gateway"]
    for deployment, user, key in (
        ("nanogrid", "operator", "password"),
        ("nanogrid-gateway", "gateway", "gatewayPassword"),
    ):
        env = env_of(documents, deployment)
        assert env["NANOGRID_REDIS_USERNAME"]["value"] == user
        assert secret_ref(env["NANOGRID_REDIS_PASSWORD"]) == ("nanogrid-dev", key)
    elsewhere = render(DEV | {"tenancy": {"compatibilityNamespace": "older"}})
    text = named("Secret", "nanogrid-dev", elsewhere)["stringData"]["users.acl"]
    assert "%R~result:platform:* resetchannels &result:platform:*" in text


def test_uninstall_keeps_the_crds_and_all_jobs() -> None:
    crds = of_kind("CustomResourceDefinition", render(REAL))

    assert {crd["spec"]["names"]["kind"] for crd in crds} == {
        "ExecutionJob",
        "ExecutionPool",
        "Function",
        "NanoGridTenant",
    }
    for crd in crds:
        assert crd["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert not of_kind("CustomResourceDefinition", render(REAL | {"crds": {"install": False}}))


def test_every_pod_is_restricted() -> None:
    for deployment in of_kind("Deployment", render(DEV)):
        pod = pod_spec(deployment)
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }


def policies_of(documents: list[Json]) -> dict[str, Json]:
    return {d["metadata"]["name"]: d["spec"] for d in of_kind("NetworkPolicy", documents)}


def test_the_denied_port_is_closed_by_the_egress_of_sandboxes_alone() -> None:
    documents = render(REAL)
    found = policies_of(documents)
    egress = json.loads(operator_env(REAL)["NANOGRID_SANDBOX_EGRESS"])

    assert found["nanogrid-probe-denied"]["egress"] == egress
    assert 8081 not in [p["port"] for rule in egress for p in rule["ports"]]
    *same, control = found["nanogrid-probe-allowed"]["egress"]
    assert (same, [p["port"] for p in control["ports"]]) == (egress, [8081])
    # Everybody may come in, so the port is closed only by the policy of a sandbox.
    assert found["nanogrid-denied-port"]["ingress"] == [
        {"ports": [{"protocol": "TCP", "port": 8081}]}
    ]
    (service,) = [d for d in of_kind("Service", documents) if d["metadata"]["name"] == "nanogrid"]
    assert [p["port"] for p in service["spec"]["ports"]] == [8080, 8081]
    assert operator_env(REAL)["NANOGRID_DENIED_PORT"] == "8081"


def test_the_results_port_accepts_every_source_and_no_other_port_of_the_policy_does() -> None:
    """So the network plugin needs not know a pod on the operator's node before it can report."""
    alone = REAL | {"leaderElection": {"enabled": False}}
    found = policies_of(render(REAL))
    own = {
        "app.kubernetes.io/name": "nanogrid-operator",
        "app.kubernetes.io/instance": "nanogrid",
        "app.kubernetes.io/component": "operator",
    }

    assert found["nanogrid"] == {
        "podSelector": {"matchLabels": own},
        "policyTypes": ["Ingress"],
        "ingress": [{"ports": [{"protocol": "TCP", "port": 8080}]}],
    }
    assert found == policies_of(render(alone))


def test_only_ports_that_authenticate_or_tell_nothing_accept_every_source() -> None:
    """Whoever opens another one has to name it here."""
    found = {
        (name, tuple(port["port"] for port in rule["ports"]))
        for name, spec in policies_of(render(DEV)).items()
        for rule in spec.get("ingress", [])
        if not rule.get("from")
    }
    assert found == {
        ("nanogrid", (8080,)),
        ("nanogrid-denied-port", (8081,)),
        ("nanogrid-gateway", (8080,)),
        ("nanogrid-router", (8080,)),
    }


def test_header_mode_depends_on_the_test_of_the_network_unless_that_is_waived() -> None:
    header = REAL | {"router": {"auth": {"mode": "header", "peers": [{"podSelector": {}}]}}}
    waived = header | {"security": {"allowUnenforcedNetwork": True}}

    assert router_env(header)["NANOGRID_NETWORK_CONFIG_MAP"] == "platform/nanogrid-network"
    assert "NANOGRID_NETWORK_CONFIG_MAP" not in router_env(waived)
    assert "NANOGRID_NETWORK_CONFIG_MAP" not in router_env(REAL)
    (rule,) = policies_of(render(header))["nanogrid-router"]["ingress"]
    assert rule["from"] == [{"podSelector": {}}]


def router_env(values: dict[str, Any]) -> dict[str, Any]:
    (router,) = [
        d
        for d in of_kind("Deployment", render(values))
        if d["metadata"]["name"] == "nanogrid-router"
    ]
    (container,) = pod_spec(router)["containers"]
    return {e["name"]: e.get("value") for e in container["env"]}


def test_the_notes_warn_of_a_network_that_may_be_open() -> None:
    args = ("install", "nanogrid", CHART, "--namespace", "platform", "--dry-run=client")
    waived = helm(*args, values=REAL | {"security": {"allowUnenforcedNetwork": True}}).stdout

    assert "WARNING: security.allowUnenforcedNetwork is true" in waived
    assert "allowUnenforcedNetwork" not in notes({})
