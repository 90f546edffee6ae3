"""``doctor --tenant``: each finding of the boundary, and no job is left behind."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from nanogrid import names
from nanogrid.api.job import Spec
from nanogrid.cli import namespace_checks
from nanogrid.cli.app.exits import Exit
from nanogrid.cli.boundary import attacks, installation, namespace, rights
from nanogrid.client.errors import ApiError, Forbidden, Invalid, NotFound
from nanogrid.client.kube.paths import pods
from nanogrid.controller_class import policy_name
from nanogrid.types import Json
from support.cli_fakes import NAMESPACE, FakeCluster
from support.cli_terminal import Terminal

DEPLOYMENTS = "/apis/apps/v1/deployments"
COMPONENTS = f"{DEPLOYMENTS}?{installation.COMPONENTS}"
POLICIES = f"/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/networkpolicies"
SPACE = f"/api/v1/namespaces/{NAMESPACE}"
TENANT = f"/apis/{names.API_VERSION}/namespaces/sys/{names.TENANT_PLURAL}/{NAMESPACE}"
SANDBOX: Json = {
    "uid": 2000000001,
    "groups": [2000000001],
    "privileges": {"CapEff": "0000000000000000", "NoNewPrivs": "1", "Seccomp": "2"},
    "variables": [],
    "secrets": [],
    "writable": [],
    "processes": {"readable": [], "variables": [], "traceable": []},
}
Attacked = Callable[[Json], None]  # changes the report of the probe


def deployment(name: str, component: str, **env: str) -> Json:
    container = {
        "image": "operator:1",
        "env": [{"name": key, "value": value} for key, value in env.items()],
    }
    return {
        "metadata": {
            "name": name,
            "namespace": "sys",
            "labels": {installation.COMPONENT: component},
        },
        "spec": {"template": {"spec": {"containers": [container]}}},
    }


def operator(**env: str) -> Json:
    settings = {
        names.ENV_RESULTS_URL: "http://nanogrid.sys.svc:8080/v1/results",
        "NANOGRID_REDIS_URL": "redis://:hunter2@redis.sys.svc:6379/0",
        "NANOGRID_TENANT_DEFAULTS": "{}",
    }
    return deployment("nanogrid", "operator", **settings | env)


def pod(space: str, name: str, port: int, **spec: Any) -> Json:
    return {
        "metadata": {"name": name, "namespace": space},
        "spec": {"containers": [{"ports": [{"containerPort": port}]}]} | spec,
        "status": {"podIP": "10.0.0.9"},
    }


def policy(name: str, managed: bool = True, **spec: Any) -> Json:
    labels = {"app.kubernetes.io/managed-by": names.MANAGED_BY} if managed else {}
    return {"metadata": {"name": name, "labels": labels}, "spec": spec}


class World:
    """A namespace whose boundary holds; tests change what the probe or the operator reports."""

    def __init__(self, terminal: Terminal) -> None:
        self.terminal = terminal
        self.cluster: FakeCluster = terminal.cluster
        self.change: Attacked = lambda _: None
        self.accepted: set[str] = set()  # jobs that the operator does not refuse
        self.cluster.end_of = self._end
        self.cluster.denied = {"* *"} | {
            f"{verb} {resource}"
            for verb, resource, _ in (
                *rights.RELEASE,
                *rights.CLUSTER,
                *(rule for rule, _ in rights.OWN),
            )
        }
        needed = [policy_name(name, "") for name in namespace.NEEDED_POLICIES]
        self.cluster.objects[SPACE] = {
            "metadata": {"labels": {namespace_checks.POD_SECURITY: "restricted"}}
        }
        self.cluster.lists = {
            DEPLOYMENTS: [operator()],
            COMPONENTS: [deployment("nanogrid-router", "router")],
            POLICIES: [policy(name) for name in needed],
            installation.API_SLICES: [
                {"endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"port": 6443}]}
            ],
            "/api/v1/nodes": [
                {
                    "metadata": {"name": "n1"},
                    "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.2"}]},
                }
            ],
            pods(): [pod("shop", "web", 80), pod("kube-system", "proxy", 80, hostNetwork=True)],
        }

    def _end(self, job: Json) -> Json:
        suffix = job["metadata"]["name"].split("-", 2)[2:]
        if not suffix:
            return {"stdout": json.dumps(self._report(job))}
        if suffix[0] in self.accepted:
            return {}
        return {"status": "FAILED", "reason": "InvalidSpec", "exitCode": None, "stdout": ""}

    def _report(self, job: Json) -> Json:
        targets = json.loads(job["spec"]["stdin"])["targets"]
        network = {
            one["name"]: {"outcome": "open" if one["open"] else "timeout", "address": "10.0.0.7"}
            for one in targets
        }
        report = json.loads(json.dumps(SANDBOX)) | {"network": network}
        self.change(report)
        return report

    def run(self, *args: str) -> tuple[int, dict[str, Json]]:
        """Run doctor; returns the exit code, and the findings by check, the worst of each."""
        done = self.terminal.run("doctor", "--tenant", NAMESPACE, "-o", "json", *args)
        assert done.stdout, done.exception
        found = json.loads(done.stdout)
        assert all(one["hint"] for one in found if one["state"] != "ok"), found
        assert "hunter2" not in done.stdout + json.dumps(self.cluster.created)
        self.check_nothing_is_left()
        order = ["ok", "skip", "warn", "fail"]
        found.sort(key=lambda one: order.index(one["state"]))
        return done.exit_code, {one["check"]: one for one in found}

    def problems(self) -> tuple[int, dict[str, str]]:
        code, found = self.run()
        return code, {c: one["state"] for c, one in found.items() if one["state"] != "ok"}

    def check_nothing_is_left(self) -> None:
        path = self.cluster.jobs_path()
        created = {f"{path}/{one['metadata']['name']}" for one in self.cluster.created}
        assert created == {one.partition("#")[0] for one in self.cluster.deleted}


@pytest.fixture
def world(terminal: Terminal) -> World:
    return World(terminal)


def test_a_boundary_that_holds(world: World) -> None:
    code, found = world.run()
    assert code == 0
    assert {one["state"] for one in found.values()} == {"ok"}
    assert {
        "to operator's results port",
        "to Redis",
        "to router",
        "to API server at 10.0.0.1",
        "to kubelet of n1",
        "to pod shop/web",
        "job: operator's image",
        "rights: you",
        "rights: default",
        names.TENANT_KIND,
    } <= set(found)
    assert "to pod kube-system/proxy" not in found
    assert all(one["spec"]["ttlSecondsAfterFinished"] for one in world.cluster.created)

    done = world.terminal.run("doctor", "--tenant", NAMESPACE)
    assert "ok    to Redis" in done.stdout
    assert "creating a job in jobs" in done.stderr
    assert world.terminal.run("doctor", "--tenant", NAMESPACE, "-o", "name").stdout == ""


@pytest.mark.parametrize(
    ("mode", "name"), [("Sentinel", "Sentinel at {}:26379"), ("Cluster", "Redis at {}:6379")]
)
def test_each_server_of_redis_is_tried(world: World, mode: str, name: str) -> None:
    url = "redis://:hunter2@a.sys.svc,b.sys.svc"
    env = {"NANOGRID_REDIS_URL": url, "NANOGRID_REDIS_MODE": mode}
    world.cluster.lists[DEPLOYMENTS] = [operator(**env)]
    code, found = world.run()
    assert code == 0
    assert {f"to {name.format(host)}" for host in ("a.sys.svc", "b.sys.svc")} <= set(found)


def test_every_job_that_must_be_refused_is_valid_for_the_api() -> None:
    """Otherwise a typing error would count as a refusal."""
    installed = installation.Installation("sys", operator())
    for root in ("team-a/", "", None):
        found = attacks.attacks(root, installed)
        assert len({one.name for one in found}) == len(found)
        for one in found:
            Spec.model_validate(one.spec)


def opens(name: str) -> Attacked:
    def change(report: Json) -> None:
        report["network"][name] |= {"outcome": "open", "first": "open"}

    return change


def closes(name: str, outcome: str) -> Attacked:
    def change(report: Json) -> None:
        report["network"][name] |= {"outcome": outcome, "detail": "no answer"}

    return change


def sandbox(**changes: Any) -> Attacked:
    return lambda report: report.update(changes)


def late(report: Json) -> None:
    report["network"]["Redis"] |= {"first": "open"}


SEES = {"readable": [1], "variables": ["AWS_SECRET_ACCESS_KEY"], "traceable": []}
TRACES = {"readable": [], "variables": [], "traceable": [1]}


@pytest.mark.parametrize(
    ("change", "check", "state"),
    [
        (opens("API server"), "to API server", "fail"),
        (opens("Redis"), "to Redis", "fail"),
        (opens("metadata"), "to metadata", "fail"),
        (opens(installation.POD_IDENTITY), f"to {installation.POD_IDENTITY}", "fail"),
        (opens("kubelet, by the gateway"), "to kubelet, by the gateway", "fail"),
        (closes("DNS", "unresolved"), "to DNS", "fail"),
        (closes("operator's results port", "timeout"), "to operator's results port", "fail"),
        (closes("router", "unresolved"), "to router", "skip"),
        (late, "to Redis", "warn"),
        (sandbox(network={}), "to Redis", "skip"),
        (sandbox(uid=0), "user", "fail"),
        (sandbox(uid=65532), "user", "fail"),
        (sandbox(groups=[0]), "user", "fail"),
        (sandbox(privileges={"CapEff": "0400"}), "capabilities", "fail"),
        (sandbox(privileges={"NoNewPrivs": "0"}), "NoNewPrivs", "fail"),
        (sandbox(privileges={"Seccomp": "0"}), "Seccomp", "fail"),
        (sandbox(privileges={}), "Seccomp", "warn"),
        (sandbox(variables=["AWS_ROLE_ARN"]), "variables", "fail"),
        (sandbox(secrets=["/var/run/secrets/x/token"]), "token files", "fail"),
        (sandbox(writable=["/etc"]), "root file system", "fail"),
        (sandbox(processes=SEES), "other processes", "fail"),
        (sandbox(processes=TRACES), "other processes", "fail"),
    ],
)
def test_what_the_probe_finds(world: World, change: Attacked, check: str, state: str) -> None:
    world.change = change
    code, found = world.problems()
    assert found[check] == state
    assert code == (Exit.FAILED if "fail" in found.values() else 0)


def test_what_the_chart_opens_is_a_warning(world: World) -> None:
    rule = json.dumps([{"to": [{"ipBlock": {"cidr": "169.254.170.23/32"}}]}])
    world.cluster.lists[DEPLOYMENTS] = [
        operator(NANOGRID_SANDBOX_EGRESS=rule, NANOGRID_RUNTIME_CLASS="gvisor")
    ]
    world.change = opens(installation.POD_IDENTITY)
    assert world.problems() == (0, {f"to {installation.POD_IDENTITY}": "warn"})
    world.change = sandbox(privileges={"NoNewPrivs": "1", "Seccomp": "0"})
    assert world.problems() == (0, {"Seccomp": "warn"})


@pytest.mark.parametrize(
    "attack", attacks.attacks("jobs/", installation.Installation("s", operator()))
)
def test_a_job_that_is_not_refused(world: World, attack: attacks.Attack) -> None:
    world.accepted = {attack.name}
    assert world.problems() == (Exit.FAILED, {f"job: {attack.what}": "fail"})


def test_a_refusal_by_the_api_server(world: World) -> None:
    def refuse(body: Json) -> None:
        if body["metadata"]["name"].endswith("-dots"):
            raise Invalid(422, "Invalid", "spec.inputs: must not contain '..'")
        if body["metadata"]["name"].endswith("-secret"):
            raise Forbidden(403, "Forbidden", "exceeded quota")

    world.cluster.before_create = refuse
    code, found = world.run()
    assert code == 0
    assert found["job: input with ../ in its key"]["state"] == "ok"
    assert found["job: Secret with the S3 keys"]["state"] == "skip"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (Forbidden(403, "Forbidden", "you cannot create executionjobs"), "you cannot create"),
        (NotFound(404, "NotFound", 'namespaces "jobs" not found'), "kubectl create namespace"),
        (NotFound(404, "NotFound", "the server could not find the requested"), "Install the chart"),
    ],
)
def test_a_job_that_cannot_be_created(world: World, error: ApiError, text: str) -> None:
    def refuse(_: Json) -> None:
        raise error

    world.cluster.before_create = refuse
    code, found = world.run()
    assert (code, found["job"]["state"], found["attacks"]["state"]) == (1, "fail", "skip")
    assert text in found["job"]["detail"] + found["job"]["hint"]
    assert found["rights: default"]["state"] == "ok"  # the other parts still run
    assert world.cluster.deleted == []


@pytest.mark.parametrize(
    ("end", "text"),
    [
        (None, "did not end within 120 s"),
        ({"status": "FAILED", "reason": "ImagePullFailed"}, "ended with ImagePullFailed"),
        ({"status": "FAILED", "reason": "NonZeroExit", "stderr": "Traceback"}, "NonZeroExit"),
        ({"stdout": "hello"}, "printed no report"),
    ],
)
def test_a_job_without_a_report(world: World, end: Json | None, text: str) -> None:
    world.cluster.end_of = lambda _: end
    code, found = world.run()
    assert (code, found["job"]["state"], found["attacks"]["state"]) == (1, "fail", "skip")
    assert text in found["job"]["detail"]
    assert len(world.cluster.created) == 1


def test_a_refused_job_that_never_ends(world: World) -> None:
    end = world.cluster.end_of
    world.cluster.end_of = lambda job: None if "-bucket" in job["metadata"]["name"] else end(job)
    code, found = world.problems()
    assert (code, found) == (Exit.FAILED, {"job: input from another bucket": "fail"})


def test_jobs_are_deleted_after_an_interrupt(world: World) -> None:
    end = world.cluster.end_of

    def interrupt(job: Json) -> Json | None:
        if job["metadata"]["name"].endswith("-bucket"):
            raise KeyboardInterrupt
        return end(job)

    world.cluster.end_of = interrupt
    done = world.terminal.run("doctor", "--tenant", NAMESPACE)
    assert (done.exit_code, done.stdout) == (Exit.CANCELLED, "")
    assert len(world.cluster.created) > 2
    world.check_nothing_is_left()


def test_jobs_are_deleted_after_an_error_also_those_without_an_answer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nanogrid.client.jobs.submit.PAUSE_SECONDS", 0.0)

    def lose(body: Json) -> None:
        if body["metadata"]["name"].endswith("-bucket"):
            raise ApiError(503, "ServiceUnavailable", "try later")

    world.cluster.before_create = lose
    done = world.terminal.run("doctor", "--tenant", NAMESPACE)
    assert (done.exit_code, done.stdout) == (Exit.UNREACHABLE, "")
    lost = [one for one in world.cluster.deleted if one.endswith("-bucket#None")]
    assert len(lost) == 1
    assert len(world.cluster.deleted) == len(world.cluster.created) + 1


@pytest.mark.parametrize("error", [NotFound, ApiError])
def test_a_job_that_cannot_be_deleted(world: World, error: type[ApiError]) -> None:
    world.cluster.delete_error = error(500, "InternalError", "no etcd.")
    done = world.terminal.run("doctor", "--tenant", NAMESPACE)
    world.check_nothing_is_left()
    assert done.exit_code == 0
    assert ("could not be deleted: no etcd." in done.stderr) == (error is ApiError)


def test_rights(world: World) -> None:
    world.cluster.denied -= {"list secrets", "create networkpolicies"}
    world.cluster.account_rights = {
        f"{NAMESPACE}:default": {"get secrets"},
        f"{NAMESPACE}:runner": {"create pods/exec"},
    }
    world.cluster.lists[DEPLOYMENTS] = [operator(NANOGRID_SANDBOX_SERVICE_ACCOUNT="runner")]
    done = world.terminal.run("doctor", "--tenant", NAMESPACE, "-o", "json")
    found = {(one["check"], one["state"]): one["detail"] for one in json.loads(done.stdout)}
    assert "list secrets in sys, list secrets in the cluster" in found["rights: you", "fail"]
    assert "open sandboxes to the network" in found["rights: you", "warn"]
    assert "get secrets in sys" in found["rights: default", "fail"]
    assert "create pods/exec in sys" in found["rights: runner", "fail"]


def test_rights_of_an_administrator_are_not_a_tenants(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.cluster.denied = set()
    assert world.problems() == (0, {"rights: you": "skip"})
    own = world.cluster.can

    def can(*args: Any, service_account: str = "", **more: Any) -> bool:
        if service_account:
            raise Forbidden(403, "Forbidden", "you cannot create subjectaccessreviews.")
        return own(*args, **more)

    monkeypatch.setattr(world.cluster, "can", can)
    assert world.problems() == (0, {"rights: you": "skip", "rights: default": "skip"})


def test_a_user_who_can_read_nothing(world: World) -> None:
    """The principal user: a tenant. All that needs no other right is checked."""
    world.cluster.forbidden = {*world.cluster.lists, pods(NAMESPACE)}
    code, found = world.run()
    states = {check: one["state"] for check, one in found.items()}
    assert code == 0
    skipped = {check for check, state in states.items() if state == "skip"}
    assert skipped == {
        "installation",
        "policies",
        "rights",
        "to kubelets",
        "to API server's addresses",
        "to pods of the namespace",
        "to pods of other namespaces",
        names.TENANT_KIND,
    }
    assert {"to DNS", "to API server", "job: input from another namespace's root"} <= set(found)


def test_no_operator_for_the_namespace(world: World) -> None:
    world.cluster.lists[DEPLOYMENTS] = [operator(NANOGRID_WATCH_NAMESPACES="a,b")]
    code, found = world.run()
    assert (code, found["installation"]["state"]) == (Exit.FAILED, "fail")


@pytest.mark.parametrize(
    ("spec", "state", "text"),
    [
        ({}, "ok", "root 'jobs/', egress up to Deny"),
        ({"root": "x/", "network": {"egress": "Internet"}}, "ok", "root 'x/', egress up to Intern"),
        ({"root": ""}, "warn", "its root is empty"),
        ({"allow": {"images": ["**"]}}, "warn", "allow.images has **"),
        ({"weight": 0}, "fail", "is not valid: spec.weight"),
    ],
)
def test_a_tenants_object(world: World, spec: Json, state: str, text: str) -> None:
    world.cluster.objects[TENANT] = {"spec": spec}
    _, found = world.run()
    assert found[names.TENANT_KIND]["state"] == state
    assert text in found[names.TENANT_KIND]["detail"]
    root = spec.get("root", "jobs/")
    keys = {one["spec"]["inputs"][0]["s3"]["prefix"] for one in world.cluster.created
            if one["spec"].get("inputs")}  # fmt: skip
    assert f"{'' if state == 'fail' else root}results/" in keys
    # An empty root contains the keys of namespaces that the operator cannot know.
    assert ("job: input from another namespace's root" in found) == (root != "")


def test_allowed_service_accounts_are_checked(world: World) -> None:
    world.cluster.objects[TENANT] = {"spec": {"allow": {"serviceAccounts": ["reports"]}}}
    world.cluster.account_rights = {f"{NAMESPACE}:reports": {"get nodes/proxy"}}
    assert world.problems() == (Exit.FAILED, {"rights: reports": "fail"})


def test_the_compatibility_namespace_has_an_empty_root(world: World) -> None:
    world.cluster.lists[DEPLOYMENTS] = [operator(NANOGRID_COMPATIBILITY_NAMESPACE=NAMESPACE)]
    assert world.problems() == (0, {names.TENANT_KIND: "warn"})


def test_policies_of_the_namespace(world: World) -> None:
    good = world.cluster.lists[POLICIES]
    quiet = policy("deny-all", managed=False, podSelector={}, policyTypes=["Egress"])
    other = policy("web", managed=False, podSelector={"matchLabels": {"a": "b"}}, egress=[{}])
    world.cluster.lists[POLICIES] = [*good, quiet, other]
    assert world.problems() == (0, {})
    wide = policy("open", managed=False, podSelector={}, egress=[{}])
    world.cluster.lists[POLICIES] = [*good, wide]
    assert world.problems() == (0, {"policies": "warn"})
    world.cluster.lists[POLICIES] = good[:1]
    assert world.problems() == (Exit.FAILED, {"policies": "fail"})


def test_pod_security_and_quota(world: World) -> None:
    world.cluster.objects[SPACE] = {"metadata": {}}
    world.cluster.lists[f"{SPACE}/resourcequotas"] = [{"metadata": {"name": "compute"}}]
    _, found = world.run()
    assert found["pod security"]["state"] == "warn"
    assert found["quota"]["detail"] == "compute"
