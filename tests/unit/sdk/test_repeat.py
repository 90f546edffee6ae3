"""What a repeated job copies, and what would give it to a tool that deletes it."""

import pytest

from nanogrid import names
from nanogrid.repeat import repeated
from nanogrid.types import Json


def a_job(*, labels: Json | None = None, annotations: Json | None = None, **spec: object) -> Json:
    head = {"apiVersion": names.API_VERSION, "kind": names.KIND}
    metadata = {
        "name": "old",
        "namespace": "team-a",
        "uid": "u",
        "resourceVersion": "7",
        "generation": 3,
        "creationTimestamp": "2025-10-09T08:54:00Z",
        "ownerReferences": [{"kind": "Workflow", "name": "w", "uid": "w"}],
        "finalizers": ["example.com/hold"],
        "managedFields": [{"manager": "argocd-controller"}],
        "labels": labels,
        "annotations": annotations,
    }
    return head | {"metadata": metadata, "spec": spec, "status": {"phase": "Failed"}}


@pytest.mark.parametrize(
    ("label", "copied"),
    [
        ("team", True),
        ("example.com/team", True),
        ("app.kubernetes.io/name", True),
        ("app.kubernetes.io/part-of", True),
        (names.LABEL_FUNCTION, True),
        ("kueue.x-k8s.io/queue-name", True),
        ("kueue.x-k8s.io/priority-class", True),
        ("notargoproj.io/instance", True),
        ("argoproj.io", True),  # a name without a domain
        ("app.kubernetes.io/instance", False),
        ("app.kubernetes.io/managed-by", False),
        ("argocd.argoproj.io/instance", False),
        ("workflows.argoproj.io/workflow", False),
        ("kustomize.toolkit.fluxcd.io/name", False),
        ("helm.toolkit.fluxcd.io/namespace", False),
        ("helm.sh/chart", False),
        ("applyset.kubernetes.io/part-of", False),
        ("objectset.rio.cattle.io/hash", False),
        ("kapp.k14s.io/app", False),
        ("configsync.gke.io/declared-version", False),
        ("velero.io/restore-name", False),
        ("velero.io/backup-name", False),
        ("velero.io/exclude-from-backup", True),
    ],
)
def test_labels(label: str, copied: bool) -> None:
    new = repeated(a_job(labels={"team": "a", label: "x"}), "new")

    assert new["metadata"]["labels"] == {"team": "a"} | ({label: "x"} if copied else {})


@pytest.mark.parametrize(
    ("annotation", "copied"),
    [
        (names.ANNOTATION_KEEP, True),
        (names.ANNOTATION_REQUEST_DIGEST, True),
        (names.ANNOTATION_FUNCTION_VERSION, True),
        ("kubectl.kubernetes.io/last-applied-configuration", False),
        ("argocd.argoproj.io/tracking-id", False),
        ("meta.helm.sh/release-name", False),
        ("config.k8s.io/owning-inventory", False),
        (names.ANNOTATION_RESTORED, False),
        (names.ANNOTATION_START_RESTORED, False),
        ("note", False),
    ],
)
def test_annotations(annotation: str, copied: bool) -> None:
    new = repeated(a_job(annotations={annotation: "x"}), "new")

    assert new["metadata"]["annotations"] == ({annotation: "x"} if copied else {})


def test_the_spec_and_nothing_else_of_the_old_object() -> None:
    spec = {"code": {"inline": "1"}, "ttlSecondsAfterFinished": 60}
    old = a_job(**spec, requestId="r", cancel=True, suspend=True)

    assert repeated(old, "new") == {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": "new", "namespace": "team-a", "labels": {}, "annotations": {}},
        "spec": spec,
    }
    assert old["spec"] == spec | {"requestId": "r", "cancel": True, "suspend": True}
