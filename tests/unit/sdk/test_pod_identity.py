"""Whose pod a sandbox pod says that it is: by labels, or by the annotations of a claim."""

from typing import Any

import pytest

from nanogrid import names, pod_identity
from support.selectors import selected

UID = "0b9c2f6e-4f0c-4a55-9f5e-0a4a5a1d2c11"
OF_JOB = {names.LABEL_JOB: "sales", names.LABEL_JOB_UID: UID, names.LABEL_ATTEMPT: "2"}
OF_POOL = {names.LABEL_POOL: "warm", names.LABEL_JOB_UID: ""}


def pod(labels: dict[str, str], annotations: dict[str, str] | None = None) -> dict[str, Any]:
    return {"metadata": {"labels": labels, "annotations": annotations or {}}}


def identity(found: dict[str, Any]) -> tuple[str, str, int]:
    return pod_identity.job_name(found), pod_identity.job_uid(found), pod_identity.attempt(found)


@pytest.mark.parametrize(
    "found", [pod(OF_JOB), pod(OF_POOL, OF_JOB), pod(OF_POOL | OF_JOB)], ids=str
)
def test_a_pod_of_a_job_cold_or_claimed(found: dict[str, Any]) -> None:
    assert identity(found) == ("sales", UID, 2)
    assert selected(found, pod_identity.selector(UID))


def test_a_pod_that_waits_has_no_job_and_comes_with_the_selector() -> None:
    assert identity(pod(OF_POOL)) == ("", "", 0)
    assert selected(pod(OF_POOL), pod_identity.selector(UID))


def test_annotations_do_not_change_the_job_of_a_pod_with_labels() -> None:
    other = {names.LABEL_JOB: "other", names.LABEL_JOB_UID: "other", names.LABEL_ATTEMPT: "9"}

    assert identity(pod(OF_JOB, other)) == ("sales", UID, 2)


@pytest.mark.parametrize("found", [{"metadata": {}}, {"metadata": {"labels": None}}], ids=str)
def test_a_pod_without_metadata(found: dict[str, Any]) -> None:
    assert identity(found) == ("", "", 0)


@pytest.mark.parametrize("text", ["", "first", "-1", "1000", "²", "1.5"])
def test_a_malformed_attempt_counts_as_the_first(text: str) -> None:
    assert pod_identity.attempt(pod(OF_JOB | {names.LABEL_ATTEMPT: text})) == 0


def test_the_selector_leaves_out_other_jobs() -> None:
    assert not selected(pod(OF_JOB | {names.LABEL_JOB_UID: "other"}), pod_identity.selector(UID))
