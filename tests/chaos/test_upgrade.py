"""The chart is upgraded and rolled back while jobs run: no job is lost, run or counted twice."""

import shutil
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from chaos.results import assert_delivered_once, one_result
from chaos.starts import Starts
from support.kubectl import Namespace, eventually, inline, kubectl_json
from support.release import RELEASE
from support.upgrades import CHART, operator_pod, revision, rollback, upgrade

OLD_CRD = Path(__file__).parent / "fixtures/executionjobs-v0.1.yaml"
CRD_TEMPLATE = "templates/crds/executionjobs.yaml"
JOBS = 50
TINY = {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"cpu": "1", "memory": "64Mi"}}


@pytest.fixture
def release(cluster: None) -> Iterator[str]:
    """The release; restores its revision after the test."""
    before = revision()
    yield RELEASE
    if revision() != before:
        rollback(before)


def fresh_pod() -> str:
    """A value that makes Helm replace the operator's pod."""
    return f"--set-string=operator.podAnnotations.upgrade={uuid.uuid4().hex[:8]}"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_upgrade_and_rollback_while_jobs_run(
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
    assert len({pod, upgraded, operator_pod()}) == 3, "each revision has its own operator pod"

    for n, name in enumerate(ids):
        status = namespace.finished(name, 100)
        assert (status["phase"], status["result"]["stdout"]) == ("Succeeded", f"{n}\n"), name
        assert len(namespace.pods(name)) == 1, name
        assert starts.count(name) == 1, name
    assert_delivered_once(ids.values())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_crd_upgrade_with_old_objects(
    namespace: Namespace, starts: Starts, release: str, request_id: str, tmp_path: Path
) -> None:
    """About 90 s. Old objects stay readable; running jobs continue, finished ones do not change."""
    old = tmp_path / "chart"
    shutil.copytree(CHART, old)
    template = "{{- if .Values.crds.install }}\n" + OLD_CRD.read_text() + "{{- end }}\n"
    (old / CRD_TEMPLATE).write_text(template)
    upgrade(old)
    assert "cancel" not in spec_fields(), "the old CRD is installed"

    code = starts.marked("import time; time.sleep(40); print('whole')")
    ids = {name: f"{request_id}-{name}" for name in ("done", "going", "held")}
    namespace.apply(
        inline("done", "print('old')", requestId=ids["done"]),
        inline("going", code, requestId=ids["going"]),
        inline("held", starts.marked("import time; time.sleep(600)"), requestId=ids["held"]),
    )
    done = (namespace.finished("done"), namespace.get("done")["metadata"]["resourceVersion"])
    for name in ("going", "held"):
        eventually(f"{name} runs", partial(phase_running, namespace, name), 60)

    upgrade(CHART, fresh_pod())
    assert "cancel" in spec_fields(), "the new CRD is installed"
    namespace.patch("held", cancel=True)

    assert namespace.finished("held", 60)["reason"] == "Cancelled", "old objects accept new fields"
    assert namespace.finished("going", 120)["result"]["stdout"] == "whole\n"
    assert namespace.status("done")["result"] == done[0]["result"]
    assert namespace.get("done")["metadata"]["resourceVersion"] == done[1]
    assert one_result(ids["done"])["stdout"] == "old\n"
    assert_delivered_once(ids.values())
    assert (starts.count("going"), starts.count("held")) == (1, 1)


def phase_running(namespace: Namespace, name: str) -> bool:
    """Whether a job's phase is Running."""
    return bool(namespace.status(name).get("phase") == "Running")


def spec_fields() -> set[str]:
    """The fields of a job's spec in the installed CRD."""
    crd = kubectl_json("get", "crd", "executionjobs.nanogrid.io")
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return set(schema["properties"]["spec"]["properties"])
