"""Values that operator, egress proxy, router and gateway share. Needs helm only."""

import json
from typing import Any

import pytest

from nanogrid.traces.settings import TraceSettings
from nanogrid.types import Json
from support.helm import CHART, DEV, REAL, helm, manifests, named, of_kind, pod_spec, with_tests

# The values of each component, and its Deployment.
COMPONENTS = {
    "operator": "nanogrid",
    "egressProxy": "nanogrid-egress",
    "router": "nanogrid-router",
    "gateway": "nanogrid-gateway",
}
WITH_ALL = REAL | {"egressProxy": {"enabled": True}}


def render(values: Json) -> list[Json]:
    return manifests("--namespace", "platform", values=values)


def for_all(fields: Json) -> Json:
    """The values of a release in which these fields are set for all components."""
    return (
        REAL
        | {name: dict(fields) for name in COMPONENTS}
        | {"egressProxy": {"enabled": True, **fields}}
    )


def deployments(documents: list[Json]) -> dict[str, Json]:
    """The Deployments of the components by the name of their values."""
    return {key: named("Deployment", name, documents) for key, name in COMPONENTS.items()}


def refused(values: Json) -> str:
    done = helm("template", "nanogrid", CHART, values=values)
    assert done.returncode != 0
    return done.stderr


POD_FIELDS: Json = {
    "nodeSelector": {"pool": "system"},
    "tolerations": [{"key": "system", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {}}},
    "priorityClassName": "system-high",
}


def test_all_components_take_the_same_values_for_their_pods() -> None:
    shared = POD_FIELDS | {
        "podLabels": {"team": "platform", "app.kubernetes.io/component": "other"},
        "podAnnotations": {"note": "yes"},
        "resources": {"requests": {"cpu": "1m"}},
        "extraEnv": [{"name": "EXTRA", "value": "1"}],
        "extraVolumes": [{"name": "more", "emptyDir": {}}],
        "extraVolumeMounts": [{"name": "more", "mountPath": "/more"}],
    }
    plain = deployments(render(WITH_ALL))

    for key, deployment in deployments(render(for_all(shared))).items():
        template = deployment["spec"]["template"]
        pod, before = template["spec"], pod_spec(plain[key])
        (container,) = pod["containers"]
        assert {field: pod[field] for field in POD_FIELDS} == POD_FIELDS, key
        assert not POD_FIELDS.keys() & before.keys(), key
        labels = template["metadata"]["labels"]
        assert labels["team"] == "platform"
        # Services select by the chart's own labels.
        assert labels.items() >= deployment["spec"]["selector"]["matchLabels"].items()
        assert template["metadata"]["annotations"] == {"note": "yes"}
        assert container["resources"]["requests"]["cpu"] == "1m"
        assert container["env"][-1] == {"name": "EXTRA", "value": "1"}
        assert pod["volumes"] == [*before.get("volumes", []), *shared["extraVolumes"]]
        own = before["containers"][0].get("volumeMounts", [])
        assert container["volumeMounts"] == [*own, *shared["extraVolumeMounts"]]


def test_fields_of_security_contexts_are_replaced_one_by_one_and_null_removes_one() -> None:
    shared = {
        "podSecurityContext": {"runAsUser": None, "runAsGroup": 7, "fsGroup": None},
        "securityContext": {"readOnlyRootFilesystem": False},
    }

    for key, deployment in deployments(render(for_all(shared))).items():
        pod = pod_spec(deployment)
        assert pod["securityContext"] == {
            "runAsNonRoot": True,
            "runAsGroup": 7,
            "seccompProfile": {"type": "RuntimeDefault"},
        }, key
        assert pod["containers"][0]["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": False,
            "capabilities": {"drop": ["ALL"]},
        }


def spread_of(deployment: Json) -> list[Json]:
    found: list[Json] = pod_spec(deployment)["topologySpreadConstraints"]
    return found


def test_replicas_are_spread_over_nodes_and_zones_unless_the_values_say_otherwise() -> None:
    own = {"maxSkew": 2, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"}
    chosen = {"labelSelector": {"matchLabels": {"a": "b"}}}
    documents = render(for_all({"topologySpreadConstraints": [own, own | chosen]}))

    for key, deployment in deployments(render(WITH_ALL)).items():
        selector = {"labelSelector": deployment["spec"]["selector"]}
        assert [c["topologyKey"] for c in spread_of(deployment)] == [
            "kubernetes.io/hostname",
            "topology.kubernetes.io/zone",
        ]
        for constraint in spread_of(deployment):
            assert constraint["whenUnsatisfiable"] == "ScheduleAnyway"
            assert constraint["labelSelector"] == selector["labelSelector"]
        assert spread_of(deployments(documents)[key]) == [own | selector, own | chosen]


def test_each_component_has_a_service_account_of_its_own() -> None:
    documents = render(WITH_ALL)
    accounts = {a["metadata"]["name"]: a for a in of_kind("ServiceAccount", documents)}

    used = {pod_spec(d)["serviceAccountName"] for d in deployments(documents).values()}
    assert used == set(accounts) == set(COMPONENTS.values())


def test_service_accounts_can_be_named_annotated_and_created_by_others() -> None:
    def values(account: Json) -> Json:
        found = for_all({"serviceAccount": account})
        del found["operator"]
        return found | {"serviceAccount": account}

    annotated = render(values({"annotations": {"role": "arn"}}))
    for account in of_kind("ServiceAccount", annotated):
        assert account["metadata"]["annotations"] == {"role": "arn"}
    theirs = render(values({"create": False, "name": "given"}))
    assert of_kind("ServiceAccount", theirs) == []
    for deployment in deployments(theirs).values():
        assert pod_spec(deployment)["serviceAccountName"] == "given"
    bindings = of_kind("RoleBinding", theirs) + of_kind("ClusterRoleBinding", theirs)
    assert {s["name"] for b in bindings for s in b["subjects"]} == {"given"}
    for name in ("router", "gateway"):
        nameless = REAL | {name: {"serviceAccount": {"create": False}}}
        assert f"{name}.serviceAccount.name is required" in refused(nameless)


IMAGES = {"nanogrid-operator:0.1.0", "nanogrid-gateway:0.1.0"}


def images_of(documents: list[Json]) -> set[str]:
    return {c["image"] for d in of_kind("Deployment", documents) for c in pod_spec(d)["containers"]}


def test_the_global_registry_is_that_of_every_image_without_one() -> None:
    registry = {"global": {"imageRegistry": "reg.example:5000/team"}}
    dev = {"nanogrid-dev-redis:dev", "nanogrid-dev-s3:dev"}

    assert images_of(render(DEV)) == IMAGES | dev
    documents = render(DEV | registry)
    assert images_of(documents) == {f"reg.example:5000/team/{image}" for image in IMAGES | dev}
    env = env_of(documents)
    assert env["NANOGRID_EXECUTOR_IMAGE"] == "reg.example:5000/team/nanogrid-executor:0.1.0"
    assert env["NANOGRID_PLATFORM_IMAGES"].split(",") == [
        "reg.example:5000/team/nanogrid-operator:0.1.0",
        "reg.example:5000/team/nanogrid-gateway:0.1.0",
    ]


@pytest.mark.parametrize(
    ("repository", "image"),
    [
        ("other.example/op", "other.example/op:0.1.0"),
        ("localhost/op", "localhost/op:0.1.0"),
        ("other:5000/op", "other:5000/op:0.1.0"),
        ("team/op", "reg.example/team/op:0.1.0"),
    ],
)
def test_a_repository_with_a_registry_keeps_it(repository: str, image: str) -> None:
    values: Json = {"image": {"operator": {"repository": repository}}}
    values |= {"global": {"imageRegistry": "reg.example"}}

    deployment = named("Deployment", "nanogrid", render(REAL | values))
    assert pod_spec(deployment)["containers"][0]["image"] == image


def env_of(documents: list[Json], name: str = "nanogrid") -> dict[str, Any]:
    (container,) = pod_spec(named("Deployment", name, documents))["containers"]
    return {e["name"]: e.get("value") for e in container["env"]}


def test_global_pull_secrets_are_those_of_every_pod() -> None:
    values = {
        "global": {"imagePullSecrets": ["shared", {"name": "more"}]},
        "imagePullSecrets": [{"name": "own"}, {"name": "more"}],
        "sandbox": {"imagePullSecrets": ["theirs"]},
        "egressProxy": {"enabled": True},
    }
    documents = render(DEV | values)
    wanted = [{"name": name} for name in ("own", "more", "shared")]

    for deployment in of_kind("Deployment", documents):
        assert pod_spec(deployment)["imagePullSecrets"] == wanted
    env = env_of(documents)
    assert json.loads(env["NANOGRID_IMAGE_PULL_SECRETS"]) == wanted
    assert env["NANOGRID_SANDBOX_PULL_SECRETS"] == "theirs,shared,more"
    assert {"own", "more", "shared"} <= set(env["NANOGRID_RESERVED_SECRETS"].split(","))
    plain = render(DEV)
    assert "imagePullSecrets" not in pod_spec(named("Deployment", "nanogrid", plain))
    assert env_of(plain)["NANOGRID_SANDBOX_PULL_SECRETS"] == ""


def budgets(documents: list[Json]) -> dict[str, Json]:
    return {d["metadata"]["name"]: d["spec"] for d in of_kind("PodDisruptionBudget", documents)}


def test_more_than_one_replica_has_a_disruption_budget() -> None:
    assert budgets(render(for_all({"replicas": 1}))) == {}
    found = budgets(render(for_all({"replicas": 3, "podDisruptionBudget": {"minAvailable": 2}})))
    assert {name: b["minAvailable"] for name, b in found.items()} == dict.fromkeys(
        COMPONENTS.values(), 2
    )
    standard = render(WITH_ALL | {"operator": {"replicas": 2}})
    assert {b["maxUnavailable"] for b in budgets(standard).values()} == {1}
    for deployment in deployments(standard).values():
        budget = budgets(standard)[deployment["metadata"]["name"]]
        assert budget["selector"] == deployment["spec"]["selector"]


def test_an_autoscaler_takes_the_place_of_replicas() -> None:
    scaling = {"enabled": True, "minReplicas": 3, "maxReplicas": 9, "behavior": {"scaleUp": {}}}
    values = {name: {"replicas": 1, "autoscaling": scaling} for name in ("router", "gateway")}
    documents = render(REAL | values)

    for name in ("nanogrid-router", "nanogrid-gateway"):
        scaler = named("HorizontalPodAutoscaler", name, documents)["spec"]
        assert scaler["scaleTargetRef"]["name"] == name
        assert (scaler["minReplicas"], scaler["maxReplicas"]) == (3, 9)
        assert scaler["metrics"][0]["resource"]["target"]["averageUtilization"] == 80
        assert scaler["behavior"] == {"scaleUp": {}}
        assert "replicas" not in named("Deployment", name, documents)["spec"]
        assert name in budgets(documents)
    assert of_kind("HorizontalPodAutoscaler", render(REAL)) == []
    backwards = {"autoscaling": {"enabled": True, "minReplicas": 4, "maxReplicas": 3}}
    assert "minReplicas 4 is more than maxReplicas 3" in refused(REAL | {"router": backwards})


def test_defaults_of_sandbox_pods_reach_the_operator() -> None:
    affinity: Json = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}}
    spread = [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}]
    sandbox = {
        "affinity": affinity,
        "topologySpreadConstraints": spread,
        "priorityClassName": "batch",
    }
    env = env_of(render(REAL | {"sandbox": sandbox}))

    assert json.loads(env["NANOGRID_AFFINITY"]) == affinity
    assert json.loads(env["NANOGRID_TOPOLOGY_SPREAD"]) == spread
    assert env["NANOGRID_PRIORITY_CLASS"] == "batch"


def test_pools_have_a_priority_class_below_all_others() -> None:
    documents = render(REAL)
    (created,) = of_kind("PriorityClass", documents)
    env = env_of(documents)

    assert created["value"] < 0
    assert (created["globalDefault"], created["preemptionPolicy"]) == (False, "Never")
    assert env["NANOGRID_POOL_PRIORITY_CLASS"] == created["metadata"]["name"]
    assert env["NANOGRID_DEFAULT_POOL"] == ""


@pytest.mark.parametrize(
    ("pools", "created", "used"),
    [
        ({"priorityClass": {"name": "idle", "value": -5}}, [("idle", -5)], "idle"),
        ({"priorityClass": {"create": False}}, [], ""),
        ({"priorityClass": {"create": False, "name": "idle"}}, [], "idle"),
    ],
)
def test_the_priority_class_of_pools_can_be_another(
    pools: Json, created: list[tuple[str, int]], used: str
) -> None:
    documents = render(REAL | {"pools": pools})
    found = [(c["metadata"]["name"], c["value"]) for c in of_kind("PriorityClass", documents)]

    assert found == created
    assert env_of(documents)["NANOGRID_POOL_PRIORITY_CLASS"] == used


def test_without_cluster_wide_rights_pools_have_a_priority_class_only_by_name() -> None:
    alone = REAL | {
        "rbac": {"clusterWide": False},
        "watchNamespaces": ["a"],
        "gateway": {"enabled": False},
    }

    for name in ("", "idle"):
        documents = render(alone | {"pools": {"priorityClass": {"name": name}}})
        assert of_kind("PriorityClass", documents) == []
        assert env_of(documents)["NANOGRID_POOL_PRIORITY_CLASS"] == name


def test_the_default_pool_reaches_the_operator() -> None:
    env = env_of(render(REAL | {"pools": {"defaultPool": "small"}}))

    assert env["NANOGRID_DEFAULT_POOL"] == "small"
    assert "defaultPool" in refused(REAL | {"pools": {"defaultPool": "p" * 46}})


def test_all_components_log_in_the_same_format() -> None:
    for values, style in ((WITH_ALL, "text"), (WITH_ALL | {"logFormat": "json"}, "json")):
        documents = render(values)
        for name in COMPONENTS.values():
            assert env_of(documents, name)["NANOGRID_LOG_FORMAT"] == style
        assert self_test(values)[1]["NANOGRID_LOG_FORMAT"] == style


def test_the_platform_s_containers_in_sandbox_pods_have_a_level_of_their_own() -> None:
    quiet = env_of(render(REAL | {"sandbox": {"logLevel": "WARNING"}}))

    assert quiet["NANOGRID_EXECUTOR_LOG_LEVEL"] == "WARNING"
    assert quiet["NANOGRID_LOG_LEVEL"] == "INFO"


def test_cas_of_all_servers_and_of_one_reach_the_programs_that_use_it() -> None:
    def pem(name: str) -> str:
        return f"-----BEGIN CERTIFICATE-----\n{name}\n-----END CERTIFICATE-----\n"

    targets = ("s3", "redis", "webhook")
    values: Json = {"caBundle": pem("all")} | {n: {"caBundle": pem(n)} for n in targets}
    values["s3"] |= REAL["s3"]
    values["redis"] |= REAL["redis"]
    values["webhook"]["proxy"] = "http://proxy.example:3128"
    documents = render(REAL | values)

    operator, gateway = env_of(documents), env_of(documents, "nanogrid-gateway")
    for name in targets:
        variable = f"NANOGRID_{name.upper()}_CA_BUNDLE"
        assert operator[variable].split() == (pem("all") + pem(name)).split()
        if name != "webhook":
            assert gateway[variable] == operator[variable]
    assert operator["NANOGRID_WEBHOOK_PROXY"] == "http://proxy.example:3128"
    plain = env_of(render(REAL))
    assert [plain[f"NANOGRID_{n.upper()}_CA_BUNDLE"] for n in targets] == ["", "", ""]


def self_test(values: Json) -> tuple[list[Json], dict[str, Any]]:
    """The objects of `helm test`, and the environment of its pod."""
    documents = [
        d
        for d in with_tests("--namespace", "platform", values=values)
        if "helm.sh/hook" in d["metadata"].get("annotations", {})
    ]
    (container,) = named("Pod", "nanogrid-test", documents)["spec"]["containers"]
    return documents, {e["name"]: e["value"] for e in container["env"]}


def test_helm_test_may_only_touch_its_one_job() -> None:
    documents, env = self_test(REAL | {"watchNamespaces": ["a", "b"]})
    role = named("Role", "platform:nanogrid-test", documents)

    assert {d["kind"] for d in documents} == {"Pod", "Role", "RoleBinding", "ServiceAccount"}
    assert (role["metadata"]["namespace"], env["NANOGRID_SELF_TEST_NAMESPACE"]) == ("a", "a")
    create, rest = role["rules"]
    assert (create["resources"], create["verbs"]) == (["executionjobs"], ["create"])
    assert (rest["resources"], rest["verbs"]) == (["executionjobs"], ["get", "delete"])
    assert rest["resourceNames"] == [env["NANOGRID_SELF_TEST_JOB"]]
    for document in documents:
        if document["kind"] != "Pod":
            assert (
                "hook-succeeded"
                in document["metadata"]["annotations"]["helm.sh/hook-delete-policy"]
            )
    pod = named("Pod", "nanogrid-test", documents)["spec"]
    operator = pod_spec(named("Deployment", "nanogrid", render(REAL)))
    assert pod["securityContext"] == operator["securityContext"]
    assert pod["containers"][0]["securityContext"] == operator["containers"][0]["securityContext"]


def test_helm_test_asks_the_servers_that_it_can_reach() -> None:
    def asked(values: Json) -> list[str]:
        _, env = self_test(REAL | values)
        urls = env["NANOGRID_SELF_TEST_URLS"].split(",")
        return [url.partition("//")[2].partition(".")[0] for url in urls]

    assert asked({}) == ["nanogrid", "nanogrid-gateway", "nanogrid-router"]
    assert asked({"gateway": {"enabled": False}}) == ["nanogrid", "nanogrid-router"]
    peers: Json = {"router": {"auth": {"peers": [{"podSelector": {}}]}}}
    assert asked(peers) == ["nanogrid", "nanogrid-gateway"]
    elsewhere = {"watchNamespaces": ["a"], "selfTest": {"namespace": "b"}}
    assert "selfTest.namespace" in refused(REAL | elsewhere)
    off = with_tests(values=REAL | {"selfTest": {"enabled": False}})
    assert of_kind("Pod", off) == []


@pytest.mark.parametrize(
    ("compatible", "root"), [("", "prod/"), ("-", "prod/platform/"), ("x", "prod/platform/")]
)
def test_prefix_and_kms_key_reach_the_programs_that_use_s3(compatible: str, root: str) -> None:
    s3 = REAL["s3"] | {"prefix": "prod/", "kmsKeyId": "key-1"}
    tenancy = {"compatibilityNamespace": compatible}
    documents = render(REAL | {"s3": s3, "tenancy": tenancy})

    operator, gateway = env_of(documents), env_of(documents, "nanogrid-gateway")
    for env in (operator, gateway, env_of(documents, "nanogrid-router")):
        assert env["NANOGRID_S3_PREFIX"] == "prod/"
    assert gateway["NANOGRID_S3_ROOT"] == root
    for env in (operator, gateway):
        assert env["NANOGRID_S3_KMS_KEY_ID"] == "key-1"


ACCOUNT = "arn:aws:iam::222222222222:role/nanogrid"
ROLE_ENV = ("NANOGRID_S3_ROLE_ARN", "NANOGRID_S3_ROLE_EXTERNAL_ID", "AWS_ENDPOINT_URL_STS")


def test_the_role_for_s3_reaches_the_programs_that_use_s3() -> None:
    role = {
        "arn": f"{ACCOUNT}-operator",
        "sandboxArn": f"{ACCOUNT}-{{namespace}}",
        "externalId": "id-1",
    }
    s3 = REAL["s3"] | {"assumeRole": role, "stsEndpoint": "https://sts.eu-west-1.amazonaws.com"}
    given = WITH_ALL | {"s3": s3}
    documents = render(given)
    want = dict(zip(ROLE_ENV, (role["arn"], "id-1", s3["stsEndpoint"]), strict=True))
    for name in ("nanogrid", "nanogrid-gateway"):
        env = env_of(documents, name)
        assert {k: v for k, v in env.items() if k in ROLE_ENV} == want, name
    assert env_of(documents)["NANOGRID_S3_SANDBOX_ROLE_ARN"] == role["sandboxArn"]
    assert "NANOGRID_S3_SANDBOX_ROLE_ARN" not in env_of(documents, "nanogrid-gateway")
    for name in ("nanogrid-router", "nanogrid-egress"):
        assert not set(ROLE_ENV) & set(env_of(documents, name)), name

    own = {"s3": s3 | {"assumeRole": role | {"gatewayArn": f"{ACCOUNT}-gateway"}}}
    documents = render(WITH_ALL | own)
    assert env_of(documents, "nanogrid-gateway")["NANOGRID_S3_ROLE_ARN"] == f"{ACCOUNT}-gateway"
    assert env_of(documents)["NANOGRID_S3_ROLE_ARN"] == role["arn"]
    assert not set(ROLE_ENV) & set(env_of(render(WITH_ALL)))


def test_one_role_for_all_namespaces_is_a_choice() -> None:
    def values(**role: str) -> Json:
        return REAL | {"s3": REAL["s3"] | {"assumeRole": role}}

    assert "s3.assumeRole.sandboxArn is required" in refused(values(arn=ACCOUNT))
    one_team = values(arn=ACCOUNT) | {"tenancy": {"singleTenant": True}}
    assert env_of(render(one_team))["NANOGRID_S3_SANDBOX_ROLE_ARN"] == ACCOUNT
    by_tags = values(arn=ACCOUNT, sandboxArn=f"{ACCOUNT}-pods")
    assert env_of(render(by_tags))["NANOGRID_S3_SANDBOX_ROLE_ARN"] == f"{ACCOUNT}-pods"
    for wrong in ({"arn": "nanogrid"}, {"arn": f"{ACCOUNT}-{{namespace}}"}, {"externalId": "a b"}):
        assert "s3.assumeRole" in refused(values(**wrong)).replace("/", ".")


RBAC = ("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")


def test_without_rbac_create_no_role_and_no_binding_is_rendered() -> None:
    values = WITH_ALL | {"router": {"auth": {"mode": "header", "peers": [{"podSelector": {}}]}}}
    off = render(values | {"rbac": {"create": False}})
    on = render(values)

    assert {d["kind"] for d in off} & set(RBAC) == set()
    assert {d["kind"] for d in on} >= set(RBAC)
    rest = [d for d in on if d["kind"] not in RBAC]
    assert sorted(map(json.dumps, off)) == sorted(map(json.dumps, rest))


def test_extra_objects_are_templates() -> None:
    text = "kind: ConfigMap\napiVersion: v1\nmetadata: {name: '{{ .Release.Name }}-text'}"
    tree = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "{{ .Release.Name }}-x"}}
    documents = render(REAL | {"extraObjects": [text, tree]})

    names = {d["metadata"]["name"] for d in of_kind("ConfigMap", documents)}
    assert names == {"nanogrid-network", "nanogrid-text", "nanogrid-x"}


ALB = "alb.ingress.kubernetes.io/"
INGRESSES = {
    "router": {"ingress": {"enabled": True, "annotations": {"mine": "yes"}}},
    "gateway": {"ingress": {"enabled": True, "annotations": {"mine": "yes"}}},
}


def annotations_of(values: Json) -> dict[str, dict[str, str]]:
    """The annotations of the Ingresses of router, gateway and sessions."""
    documents = render(values)
    found = {
        d["metadata"]["name"]: d["metadata"].get("annotations", {})
        for d in of_kind("Ingress", documents)
    }
    return found | {
        "sessions": json.loads(env_of(documents)["NANOGRID_SESSION_INGRESS_ANNOTATIONS"])
    }


def with_ingress(fields: Json) -> Json:
    found = {name: {"ingress": v["ingress"] | fields} for name, v in INGRESSES.items()}
    return REAL | found | {"sessions": {"ingress": fields}}


def test_annotations_of_the_aws_controller_are_for_its_class_only() -> None:
    for fields in ({}, {"className": "internal", "controller": "alb"}):
        for name, found in annotations_of(with_ingress(fields)).items():
            assert [key for key in found if key.startswith(ALB)], name
    for fields in ({"className": "nginx"}, {"controller": "other"}):
        assert annotations_of(with_ingress(fields)) == {
            "nanogrid-router": {"mine": "yes"},
            "nanogrid-gateway": {"mine": "yes"},
            "sessions": {},
        }


def test_an_annotation_of_the_values_replaces_that_of_the_chart() -> None:
    own = {"annotations": {f"{ALB}scheme": "internet-facing"}}
    found = annotations_of(with_ingress(own))

    assert {a[f"{ALB}scheme"] for a in found.values()} == {"internet-facing"}


def test_the_gateway_api_routes_all_paths_to_router_and_gateway() -> None:
    route = {
        "enabled": True,
        "parentRefs": [{"name": "public", "namespace": "gateways"}],
        "hostnames": ["jobs.example.com"],
        "timeouts": {"request": "0s"},
    }
    documents = render(REAL | {name: {"httpRoute": route} for name in INGRESSES})

    for name in ("nanogrid-router", "nanogrid-gateway"):
        spec = named("HTTPRoute", name, documents)["spec"]
        assert (spec["parentRefs"], spec["hostnames"]) == (route["parentRefs"], route["hostnames"])
        (rule,) = spec["rules"]
        (backend,) = rule["backendRefs"]
        (port,) = named("Service", backend["name"], documents)["spec"]["ports"]
        assert (backend["name"], backend["port"]) == (name, port["port"])
        assert rule["timeouts"] == {"request": "0s"}
    assert of_kind("HTTPRoute", render(REAL)) == []
    orphan = {"httpRoute": {"enabled": True}}
    assert "router.httpRoute.parentRefs is required" in refused(REAL | {"router": orphan})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"global": {"imageRegistry": "https://reg.example"}}, "imageRegistry"),
        ({"global": {"imagePullSecrets": [{"nome": "x"}]}}, "imagePullSecrets"),
        ({"router": {"podLabel": {}}}, "podLabel"),
        (
            {"gateway": {"podDisruptionBudget": {"minAvailable": 1, "maxUnavailable": 1}}},
            "podDisruptionBudget",
        ),
        ({"gateway": {"ingress": {"controller": "nginx"}}}, "controller"),
    ],
)
def test_wrong_values_are_refused(values: Json, message: str) -> None:
    assert message in refused(REAL | values)


# Traces

TRACING = {"enabled": True, "endpoint": "http://collector:4318", "samplingRatio": 0.25}
TRACED = ("operator", "router", "gateway")


def variables(values: Json) -> dict[str, Json]:
    """The tracing variables of each component by name; a name that is there twice fails."""
    found: dict[str, Json] = {}
    for key, deployment in deployments(render(values)).items():
        env = pod_spec(deployment)["containers"][0].get("env") or []
        own = [e for e in env if e["name"].startswith(("OTEL_", "NANOGRID_TRACING"))]
        found[key] = {e["name"]: e.get("value", e.get("valueFrom")) for e in own}
        assert len(found[key]) == len(own)
    return found


def test_without_tracing_there_is_no_variable_of_it() -> None:
    assert all(not found for found in variables(WITH_ALL).values())


def test_operator_gateway_and_router_send_traces() -> None:
    found = variables(WITH_ALL | {"tracing": TRACING | {"headersSecret": "otlp"}})

    for component in TRACED:
        assert found[component] == {
            "NANOGRID_TRACING": "true",
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318",
            "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": "0.25",
            "OTEL_EXPORTER_OTLP_HEADERS": {"secretKeyRef": {"name": "otlp", "key": "headers"}},
        }
        TraceSettings.from_env({k: v for k, v in found[component].items() if isinstance(v, str)})
    assert found["egressProxy"] == {}


def test_jobs_may_not_read_the_headers_of_the_collector() -> None:
    documents = render(WITH_ALL | {"tracing": TRACING | {"headersSecret": "otlp"}})
    env = pod_spec(named("Deployment", "nanogrid", documents))["containers"][0]["env"]
    reserved = next(e["value"] for e in env if e["name"] == "NANOGRID_RESERVED_SECRETS")

    assert "otlp" in reserved.split(",")


def test_what_extra_env_sets_replaces_the_chart() -> None:
    extra = [
        {"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "https://other:4318"},
        {"name": "OTEL_TRACES_SAMPLER", "value": "always_on"},
    ]
    values = for_all({"extraEnv": extra}) | {"tracing": {"enabled": True}}
    found = variables(values)

    for component in TRACED:
        assert found[component]["OTEL_EXPORTER_OTLP_ENDPOINT"] == "https://other:4318"
        assert found[component]["OTEL_TRACES_SAMPLER"] == "always_on"


def test_tracing_needs_a_collector_and_a_ratio_from_0_to_1() -> None:
    assert "tracing.endpoint" in refused(WITH_ALL | {"tracing": {"enabled": True}})
    for wrong in (1.5, -1, "2", "half"):
        assert "samplingRatio" in refused(WITH_ALL | {"tracing": {"samplingRatio": wrong}})
    assert "endpoint" in refused(WITH_ALL | {"tracing": {"endpoint": "collector:4317"}})


@pytest.mark.parametrize("ratio", [0, 1, "0.01"])
def test_a_ratio_may_be_a_text_because_set_makes_one(ratio: float | str) -> None:
    found = variables(WITH_ALL | {"tracing": TRACING | {"samplingRatio": ratio}})
    assert float(found["router"]["OTEL_TRACES_SAMPLER_ARG"]) == float(ratio)
