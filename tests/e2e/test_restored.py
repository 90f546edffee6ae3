"""Jobs of a backup do not run again on a real cluster, until a user starts them."""

import json

import pytest
from typer.testing import CliRunner

from nanogrid import names
from nanogrid.cli.main import program
from nanogrid.types import Json
from scripts.devaccess import DevAccess
from support.kubectl import (
    FINISH_SECONDS,
    Namespace,
    eventually,
    in_stream,
    inline,
    kubectl_json,
)
from support.sessions import session

VELERO = {"velero.io/backup-name": "nightly", "velero.io/restore-name": "nightly-1"}


def from_velero(manifest: Json) -> Json:
    """The manifest as Velero creates it: with its labels, and without a status."""
    return manifest | {"metadata": manifest["metadata"] | {"labels": VELERO}}


def held_back(namespace: Namespace, name: str) -> Json:
    """Wait until the status says that the job is restored; returns the status."""
    eventually(
        f"{name} is held back",
        lambda: namespace.status(name).get("reason") == "Restored",
        FINISH_SECONDS,
    )
    status = namespace.status(name)
    assert status["phase"] == "Suspended"
    assert namespace.get(name)["metadata"]["uid"] in status["message"]
    return status


def events_about_pods(namespace: Namespace, job_name: str) -> list[str]:
    """The reasons of all Events about pods of a job, also of pods that are gone."""
    found = kubectl_json("--namespace", namespace.name, "get", "events")["items"]
    return [
        event["reason"]
        for event in found
        if event["involvedObject"]["kind"] == "Pod"
        and event["involvedObject"]["name"].startswith(f"{job_name}-")
    ]


def start(namespace: Namespace, name: str) -> None:
    """Start a restored job as its message says."""
    uid = namespace.get(name)["metadata"]["uid"]
    namespace.kubectl("annotate", "ej", name, f"{names.ANNOTATION_START_RESTORED}={uid}")


def test_a_job_from_velero_runs_once_and_only_when_it_is_started(
    namespace: Namespace, dev: DevAccess, request_id: str
) -> None:
    namespace.apply(
        from_velero(inline("restored", "print('ran')", requestId=request_id)),
        inline("fresh", "print('ran')"),
    )

    # The control: an equal job without the labels, created by the same request, has ended.
    assert namespace.finished("fresh")["result"]["stdout"] == "ran\n"
    assert events_about_pods(namespace, "fresh")
    status = held_back(namespace, "restored")
    assert "velero.io/restore-name=nightly-1" in status["message"]
    assert namespace.pods("restored") == []
    assert events_about_pods(namespace, "restored") == []
    why = CliRunner().invoke(program(), ["-n", namespace.name, "why", "restored"])
    assert (why.exit_code, why.exception) == (0, None), why.output
    assert "Suspended: Restored" in why.stdout
    assert "velero.io/restore-name=nightly-1" in why.stdout
    assert names.ANNOTATION_START_RESTORED in why.stdout

    start(namespace, "restored")
    status = namespace.finished("restored")

    assert (status["phase"], status["result"]["stdout"]) == ("Succeeded", "ran\n")
    assert [attempt["number"] for attempt in status["attempts"]] == [0]
    assert len(in_stream(dev, request_id)) == 1


@pytest.mark.parametrize("verb", ["apply", "create"])
def test_a_job_from_a_saved_manifest_does_not_run_again(namespace: Namespace, verb: str) -> None:
    namespace.run(inline("saved", "print('ran')"))
    if verb == "create":  # it leaves no trace of the old job, so docs say to annotate it
        namespace.kubectl("annotate", "ej", "saved", f"{names.ANNOTATION_RESTORED}=true")
    saved = namespace.get("saved")
    namespace.kubectl("delete", "ej", "saved", "--wait")
    eventually("no pod is left", lambda: not namespace.pods("saved"))

    namespace.kubectl(verb, "-f", "-", stdin=json.dumps(saved))

    status = held_back(namespace, "saved")
    uid = saved["metadata"]["uid"]
    assert namespace.get("saved")["metadata"]["uid"] != uid
    assert (uid if verb == "apply" else names.ANNOTATION_RESTORED) in status["message"]
    assert namespace.pods("saved") == []

    start(namespace, "saved")

    assert namespace.finished("saved")["result"]["stdout"] == "ran\n"


def test_a_restored_session_gets_nothing_until_it_is_cancelled(namespace: Namespace) -> None:
    namespace.apply(from_velero(session("analysis")))

    held_back(namespace, "analysis")
    for kind in ("pods", "secrets", "services"):
        selector = f"{names.LABEL_JOB}=analysis"
        found = kubectl_json("--namespace", namespace.name, "get", kind, "-l", selector)
        assert found["items"] == [], kind

    namespace.patch("analysis", cancel=True)

    assert namespace.finished("analysis")["reason"] == "Cancelled"


def test_velero_leaves_out_the_pod_of_a_job(namespace: Namespace) -> None:
    namespace.apply(inline("busy", "import time; time.sleep(600)"))
    eventually("its pod exists", lambda: namespace.pods("busy"), FINISH_SECONDS)

    labels = namespace.only_pod("busy")["metadata"]["labels"]

    assert labels["velero.io/exclude-from-backup"] == "true"
