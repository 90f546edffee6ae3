"""What an ExecutionJob is compared with has the same image, limits, containers and volumes."""

import pytest

from nanogrid import names
from nanogrid.types import Json
from support.benchmark.manifests import (
    BOOT_ID,
    CODE,
    LITTLE,
    TOLERATIONS,
    bare_copy,
    batch_job,
    execution_job,
    execution_pool,
    for_burst,
    pod_spec,
    printed_times,
)
from support.pod_manifests import built


@pytest.fixture
def observed() -> Json:
    """The pod of a job with S3 input."""
    source = {"name": "in", "s3": {"prefix": "a/"}, "mountPath": "/app/data"}
    return built(inputs=[source])


def test_a_copy_keeps_containers_volumes_and_limits_but_not_the_programs(observed: Json) -> None:
    spec, metadata = bare_copy(observed, with_init=False, with_agent=True)

    given = observed["spec"]
    assert "initContainers" not in spec
    assert spec["volumes"] == given["volumes"]
    assert [one["name"] for one in spec["containers"]] == ["agent", "sandbox"]
    for ours, theirs in zip(spec["containers"], given["containers"], strict=True):
        for field in ("image", "resources", "volumeMounts", "securityContext"):
            assert ours[field] == theirs[field]
        assert ours["command"][:2] == ["python3", "-c"]
    assert metadata["annotations"] == observed["metadata"]["annotations"]


def test_a_copy_with_the_init_container_copies_inputs_as_a_job_does(observed: Json) -> None:
    spec, _ = bare_copy(observed, with_init=True, with_agent=False)

    assert spec["initContainers"] == observed["spec"]["initContainers"]
    assert [one["name"] for one in spec["containers"]] == ["sandbox"]


def test_a_copy_is_no_pod_of_a_job(observed: Json) -> None:
    spec, metadata = bare_copy(observed, with_init=True, with_agent=True)

    assert names.LABEL_JOB_UID in observed["metadata"]["labels"]
    assert "labels" not in metadata
    assert "activeDeadlineSeconds" not in spec


def test_a_bare_pod_has_the_limits_of_a_sandbox(observed: Json) -> None:
    (main,) = pod_spec("image")["containers"]
    sandbox = observed["spec"]["containers"][1]

    for kind in ("limits", "requests"):
        ours, theirs = main["resources"][kind], sandbox["resources"][kind]
        assert ours == {name: theirs[name] for name in ("cpu", "memory")}


def test_all_pods_of_bursts_reserve_the_same_for_the_code(observed: Json) -> None:
    copied, _ = bare_copy(observed, with_init=False, with_agent=True)
    pool = execution_pool("warm", 2, 2)["spec"]
    job = execution_job("x", resources=LITTLE, tolerations=TOLERATIONS)["spec"]

    for spec in (for_burst(pod_spec("image")), for_burst(copied)):
        assert spec["containers"][-1]["resources"] == pool["resources"] == job["resources"]
        assert spec["tolerations"] == pool["tolerations"] == job["tolerations"]
    agent = copied["containers"][0]
    assert for_burst(copied)["containers"][0] == agent, "only the code's container changes"
    assert LITTLE["limits"] == pod_spec("image")["containers"][0]["resources"]["limits"]


def test_a_job_of_batch_runs_the_same_pod_once() -> None:
    spec = pod_spec("image", init=True)

    assert batch_job("x", spec)["spec"] == {"backoffLimit": 0, "template": {"spec": spec}}


def test_the_code_reads_the_clock_before_anything_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert CODE.splitlines()[1] == "at = time.monotonic()"
    exec(CODE, {})
    with open(BOOT_ID, encoding="ascii") as file:
        machine = file.read().strip()

    found = printed_times(capsys.readouterr().out, machine)
    assert found is not None
    at, began = found
    assert began < at


def test_the_clock_of_another_machine_is_no_figure() -> None:
    assert printed_times("12.5 11.25 abc\n", "abc") == (12.5, 11.25)
    assert printed_times("12.5 11.25 abc\n", "xyz") is None
    assert printed_times("12.5 11.25 \n", "") is None
