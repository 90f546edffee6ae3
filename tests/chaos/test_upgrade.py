"""The chart is upgraded and rolled back while jobs run: none is lost, none runs or counts twice."""

import shutil
import subprocess
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from chaos.proof import Starts, delivered_once, one_result
from e2e.conftest import RELEASE, RELEASE_NAMESPACE
from e2e.support import Namespace, eventually, inline, kubectl_json

Json = dict[str, Any]

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm/nanogrid-operator"
OLD_CRD = Path(__file__).parent / "fixtures/executionjobs-v0.1.yaml"
CRD_TEMPLATE = "templates/crds/executionjobs.yaml"
JOBS = 50
TINY = {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"cpu": "1", "memory": "64Mi"}}


def helm(*words: str) -> str:
    """Run helm in the release's namespace and return what it printed."""
    done = subprocess.run(
        ["helm", *words, "--namespace", RELEASE_NAMESPACE],
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def upgrade(chart: Path, *more: str) -> None:
    """Upgrade the release to a chart, with the values it has; returns when all is ready."""
    helm("upgrade", RELEASE, str(chart), "--reset-then-reuse-values", "--wait", "--timeout=180s",
         *more)  # fmt: skip


def revision() -> str:
    """The revision of the release that is in force."""
    lines = helm("history", RELEASE, "--max=1").splitlines()
    return lines[-1].split()[0]


def rollback(to: str) -> None:
    """Roll the release back; returns when all is ready."""
    helm("rollback", RELEASE, to, "--wait", "--timeout=180s")


def operator_pod() -> str:
    """The name of the operator's one pod; one that is still on its way out does not count."""
    words = ("-n", RELEASE_NAMESPACE, "get", "pods", "-l", "app.kubernetes.io/component=operator")
    metas = [pod["metadata"] for pod in kubectl_json(*words)["items"]]
    (name,) = [meta["name"] for meta in metas if "deletionTimestamp" not in meta]
    return str(name)


@pytest.fixture
def release(cluster: None) -> Iterator[str]:
    """The release; whatever revision a test leaves, the one before is in force afterwards."""
    before = revision()
    yield RELEASE
    if revision() != before:
        rollback(before)


def fresh_pod() -> str:
    """A value that makes another operator pod."""
    return f"--set-string=operator.podAnnotations.upgrade={uuid.uuid4().hex[:8]}"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_upgrade_and_rollback_among_running_jobs(
    namespace: Namespace, starts: Starts, release: str
) -> None:
    """About 2.5 min."""
    run = uuid.uuid4().hex[:8]
    ids = {f"j{n:02}": f"{run}-{n}" for n in range(JOBS)}
    namespace.apply(
        *(
            inline(name, starts.marked(f"import time; time.sleep({20 + n % 21}); print({n})"),
                   requestId=ids[name], resources=TINY)
            for n, name in enumerate(ids)
        )
    )  # fmt: skip
    eventually("a fifth of the jobs run", lambda: len(starts.pods) >= JOBS // 5, 120)

    before, pod = revision(), operator_pod()
    upgrade(CHART, fresh_pod())
    upgraded = operator_pod()
    print(f"upgraded with {len(starts.pods)} of {JOBS} started")
    rollback(before)
    print(f"rolled back with {len(starts.pods)} of {JOBS} started")
    assert len({pod, upgraded, operator_pod()}) == 3, "each had an operator of its own"

    for n, name in enumerate(ids):
        status = namespace.finished(name, 100)
        assert (status["phase"], status["result"]["stdout"]) == ("Succeeded", f"{n}\n"), name
        assert len(namespace.pods(name)) == 1, name
        assert starts.of(name) == 1, name
    delivered_once(ids.values())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_crd_upgrade_with_old_objects(
    namespace: Namespace, starts: Starts, release: str, request_id: str, tmp_path: Path
) -> None:
    """About 90 s. Old objects stay readable; running ones go on, finished ones are not touched."""
    old = tmp_path / "chart"
    shutil.copytree(CHART, old)
    template = "{{- if .Values.crds.install }}\n" + OLD_CRD.read_text() + "{{- end }}\n"
    (old / CRD_TEMPLATE).write_text(template)
    upgrade(old)
    assert "cancel" not in spec_fields(), "the old CRD is in force"

    code = starts.marked("import time; time.sleep(40); print('whole')")
    ids = {name: f"{request_id}-{name}" for name in ("done", "going", "held")}
    namespace.apply(
        inline("done", "print('old')", requestId=ids["done"]),
        inline("going", code, requestId=ids["going"]),
        inline("held", starts.marked("import time; time.sleep(600)"), requestId=ids["held"]),
    )
    done = (namespace.finished("done"), namespace.get("done")["metadata"]["resourceVersion"])
    for name in ("going", "held"):
        eventually(f"{name} runs", partial(shown_running, namespace, name), 60)

    upgrade(CHART, fresh_pod())
    assert "cancel" in spec_fields(), "the new CRD is in force"
    namespace.kubectl("patch", "ej/held", "--type=merge", "-p", '{"spec":{"cancel":true}}')

    assert namespace.finished("held", 60)["reason"] == "Cancelled", "old objects take new fields"
    assert namespace.finished("going", 120)["result"]["stdout"] == "whole\n"
    assert namespace.status("done")["result"] == done[0]["result"]
    assert namespace.get("done")["metadata"]["resourceVersion"] == done[1]
    assert one_result(ids["done"])["stdout"] == "old\n"
    delivered_once(ids.values())
    assert (starts.of("going"), starts.of("held")) == (1, 1)


def shown_running(namespace: Namespace, name: str) -> bool:
    """Whether a job's status says that it runs."""
    return bool(namespace.status(name).get("phase") == "Running")


def spec_fields() -> set[str]:
    """The fields of a job's spec that the CRD in force knows."""
    crd = kubectl_json("get", "crd", "executionjobs.nanogrid.io")
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return set(schema["properties"]["spec"]["properties"])
