"""Names, labels and deadlines of the sandbox pod."""

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from nanogrid import names
from nanogrid_operator.kube.objects import pod_name
from support import strategies
from support.builders import JOB_UID, some_settings
from support.pod_manifests import ZIP_JOB, built


@given(strategies.job_names, st.uuids(), st.integers(min_value=0, max_value=9))
def test_a_pod_name_is_a_dns_name_and_a_valid_label(name: str, uid: Any, attempt: int) -> None:
    made = pod_name(name, str(uid), attempt)

    assert len(made) <= 63
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", made)


def test_the_longest_job_name_fits() -> None:
    assert len(pod_name("x" * 52, JOB_UID, 9)) == 63


def test_job_and_attempt_determine_the_pod_name() -> None:
    made = [
        pod_name("a", "uid-1", 0),
        pod_name("a", "uid-1", 0),
        pod_name("a", "uid-1", 1),
        pod_name("a", "uid-2", 0),
    ]

    assert len(set(made)) == 3
    assert made[0] == made[1]


@given(strategies.job_names)
def test_label_values_are_valid(name: str) -> None:
    labels = built(name=name)["metadata"]["labels"]

    assert all(
        re.fullmatch(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?", v)
        for v in labels.values()
    )
    assert labels[names.LABEL_JOB] == name


def test_the_deadline_is_at_least_the_sum_of_all_phases() -> None:
    spec = built(**ZIP_JOB)["spec"]

    assert spec["activeDeadlineSeconds"] >= 60 + 120 + 10 + 30
    assert spec["terminationGracePeriodSeconds"] > 10


def test_the_settings_decide_how_long_a_silent_node_is_tolerated() -> None:
    tolerations = built(some_settings(node_lost_seconds=15))["spec"]["tolerations"]

    assert {t["key"]: (t["effect"], t["tolerationSeconds"]) for t in tolerations} == {
        "node.kubernetes.io/not-ready": ("NoExecute", 15),
        "node.kubernetes.io/unreachable": ("NoExecute", 15),
    }
