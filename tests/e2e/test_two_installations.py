"""A second release in the cluster, with a controller class: each runs its own jobs only.

Both releases have the name nanogrid, in two namespaces. The second one has its own Redis and S3.
"""

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from nanogrid import controller_class, names
from nanogrid.types import Json
from support.helm import CHART, helm
from support.kubectl import KubectlError, Namespace, eventually, inline, job, kubectl, kubectl_json
from support.release import IN_RELEASE, OPERATOR, OPERATOR_LABEL, RELEASE

pytestmark = [pytest.mark.alone, pytest.mark.security]

BETA = "e2e-beta"
READY_SECONDS = 300
CLI_SECONDS = 120
FOREVER = "import time\nprint('started', flush=True)\nwhile True: time.sleep(1)"


@dataclass(frozen=True)
class Second:
    """The second installation."""

    namespace: str

    def logs(self) -> str:
        """The log of its operator."""
        return kubectl("-n", self.namespace, "logs", OPERATOR, "--tail=-1")


def values() -> Json:
    """Those of the first release that are needed: its images, and the class."""
    text = kubectl(*IN_RELEASE, "get", "deploy", "-o", "json")
    images = {
        one["metadata"]["name"]: one["spec"]["template"]["spec"]["containers"][0]
        for one in json.loads(text)["items"]
    }
    operator = images[RELEASE]
    env = {e["name"]: e.get("value", "") for e in operator["env"]}
    image = {}
    for name, found in (
        ("operator", operator["image"]),
        ("executor", env["NANOGRID_EXECUTOR_IMAGE"]),
        ("gateway", images[f"{RELEASE}-router"]["image"]),
    ):
        repository, _, tag = found.rpartition(":")
        image[name] = {"repository": repository, "tag": tag}
    dev = {part: images[f"{RELEASE}-dev-{part}"]["image"] for part in ("redis", "s3")}
    return {
        "image": image,
        "devServices": {"enabled": True, "images": dev},
        "controllerClass": BETA,
        "crds": {"install": False},
        "redis": {"prefix": "beta:"},
        # One node with the whole suite has no room for more.
        "gateway": {"enabled": False},
        "sessions": {"enabled": False},
    }


@pytest.fixture(scope="module")
def second(cluster: None) -> Iterator[Second]:
    """The second release; it is gone at the end, with its cluster-scoped objects."""
    space = f"e2e-second-{uuid.uuid4().hex[:6]}"
    try:
        done = helm(
            "install", RELEASE, CHART, "--namespace", space, "--create-namespace", "--wait",
            f"--timeout={READY_SECONDS}s", values=values(),
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        yield Second(space)
    finally:
        helm("uninstall", RELEASE, "--namespace", space, "--ignore-not-found", "--wait")
        kubectl("delete", "namespace", space, "--ignore-not-found", "--wait=false")
    kinds = "clusterroles,clusterrolebindings"
    left = [n for n in kubectl("get", kinds, "-o", "name").split() if f"/{space}:" in n]
    assert left == []
    assert "executionjobs.nanogrid.io" in kubectl("get", "crds", "-o", "name")


def nanogrid(namespace: Namespace, *args: str) -> str:
    """The output of the command line in a namespace, also of a command that fails."""
    program = [sys.executable, "-c", "from nanogrid.cli.main import main; main()"]
    command = [*program, *args, "-n", namespace.name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=CLI_SECONDS)
    return done.stdout + done.stderr


def of_class(manifest: Json) -> Json:
    """The job for the second installation."""
    return manifest | {"spec": manifest["spec"] | {"controllerClass": BETA}}


def test_each_installation_runs_its_own_jobs_in_one_namespace(
    second: Second, namespace: Namespace
) -> None:
    namespace.apply(inline("first", "print('one')"), of_class(inline("second", "print('two')")))

    ends = {name: namespace.finished(name) for name in ("first", "second")}

    assert [ends[name]["result"]["stdout"] for name in ends] == ["one\n", "two\n"]
    # The second one's Redis user may use names with the prefix only.
    for name in ends:
        condition = "--for=condition=ResultDelivered=True"
        namespace.kubectl("wait", f"ej/{name}", condition, "--timeout=120s")
    uids = {name: namespace.get(name)["metadata"]["uid"] for name in ends}
    theirs, ours = second.logs(), kubectl(*IN_RELEASE, "logs", "-l", OPERATOR_LABEL, "--tail=-1")
    assert uids["second"] in theirs
    assert uids["first"] not in theirs
    assert uids["first"] in ours
    assert uids["second"] not in ours
    pods = {name: namespace.pods(name) for name in ends}
    classes = {
        name: [pod["metadata"]["labels"].get(names.LABEL_CONTROLLER_CLASS) for pod in found]
        for name, found in pods.items()
    }
    assert classes == {"first": [None], "second": [BETA]}


def test_policies_and_keys_of_both_are_in_the_namespace(
    second: Second, namespace: Namespace
) -> None:
    namespace.apply(inline("first", "print(1)"), of_class(inline("second", "print(2)")))
    for name in ("first", "second"):
        assert namespace.finished(name)["phase"] == "Succeeded"

    policies = namespace.kubectl("get", "networkpolicies", "-o", "name")
    secrets = namespace.kubectl("get", "secrets", "-o", "name").split()

    for direction in ("ingress", "egress"):
        for own in ("", BETA):
            assert f"/{controller_class.policy_name(direction, own)}\n" in policies
    assert "secret/nanogrid-s3" in secrets
    assert f"secret/nanogrid-s3.{BETA}" in secrets


def test_the_second_operator_survives_the_first_ones_restart_and_its_pods_stay(
    second: Second, namespace: Namespace
) -> None:
    """A new operator lists all pods; those of the other class are not its orphans."""
    namespace.apply(of_class(inline("long", FOREVER)))
    eventually("the code runs", lambda: namespace.prints("long", "started"))
    before = namespace.only_pod("long")["metadata"]["uid"]

    kubectl(*IN_RELEASE, "rollout", "restart", OPERATOR)
    kubectl(*IN_RELEASE, "rollout", "status", OPERATOR, f"--timeout={READY_SECONDS}s")
    assert namespace.run(inline("after", "print(1)"))["phase"] == "Succeeded"

    assert namespace.only_pod("long")["metadata"]["uid"] == before
    namespace.patch("long", cancel=True)
    assert namespace.finished("long")["reason"] == "Cancelled"


def test_the_class_of_a_job_cannot_be_changed(second: Second, namespace: Namespace) -> None:
    namespace.apply(job("waits", code={"inline": "print(1)"}, suspend=True))

    with pytest.raises(KubectlError, match=r"spec\.controllerClass of a job cannot be changed"):
        namespace.patch("waits", controllerClass=BETA)

    namespace.patch("waits", suspend=False)
    assert namespace.finished("waits")["phase"] == "Succeeded"


def test_a_class_without_an_operator_is_explained(second: Second, namespace: Namespace) -> None:
    lost = inline("lost", "print(1)")
    namespace.apply(lost | {"spec": lost["spec"] | {"controllerClass": "no-such-class"}})

    why = nanogrid(namespace, "why", "lost")
    doctor = nanogrid(namespace, "doctor", "--controller-class", "no-such-class")
    served = nanogrid(namespace, "doctor", "--controller-class", BETA)

    assert "none in the cluster runs jobs of controller class no-such-class" in why
    assert f"controllerClass: {BETA}" in why
    assert "no operator runs jobs of controller class no-such-class" in doctor
    assert f"{second.namespace}/{RELEASE}" in served
    assert namespace.get("lost").get("status") in (None, {})


def test_each_lease_is_in_its_own_namespace(second: Second) -> None:
    holders = {
        space: kubectl_json("-n", space, "get", "lease", RELEASE)["spec"]["holderIdentity"]
        for space in (second.namespace, IN_RELEASE[1])
    }
    assert len(set(holders.values())) == 2
