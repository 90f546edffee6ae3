"""What `make bench-controlplane` makes of its measurements, and what it measures with."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from nanogrid import names, result_auth
from nanogrid.types import Json
from nanogrid_operator.model.result_keys import ResultKeys
from support.builders import RESULT_KEY_MASTER
from support.controlplane import audit, fakenodes, load, tables
from support.controlplane.compare import FULL, QUICK, Plan, plan_for
from support.controlplane.reporting_operator import report_of
from support.controlplane.subjects import ALL, JOBS_DEFAULT, JOBS_EQUAL, OURS, PODS
from support.pod_manifests import built


def event(user: str, verb: str, resource: str, subresource: str = "") -> bytes:
    """A line of an audit log."""
    reference = {"resource": resource, "subresource": subresource}
    return json.dumps({"user": {"username": user}, "verb": verb, "objectRef": reference}).encode()


def a_run(subject: str, number: int, per_second: float, first: int = 100, last: int = 100) -> Json:
    """The values of one run."""
    return {
        "subject": subject,
        "round": number,
        "objects": 50,
        "perSecond": per_second,
        "latencyMillis": {
            "first": {"p50": 50, "p99": first},
            "last": {"p50": 60, "p99": last},
        },
        "cpuMillis": {"operator": 12.34, "kube-apiserver": 20.0},
        "requests": [
            {"client": "operator", "verb": "create", "resource": "pods", "perJob": 1.0},
        ],
        "writes": 7.0,
    }


def test_requests_are_counted_by_client_verb_and_resource() -> None:
    lines = [
        event("operator", "patch", "executionjobs", "status"),
        event("operator", "patch", "executionjobs", "status"),
        event("system:apiserver", "get", "endpoints"),
        event("kwok", "patch", "nodes", "status"),
        b'{"user": {"username": "bench"}, "verb": "get", "requestURI": "/version"}',
    ]

    assert audit.requests(lines) == {
        ("operator", "patch", "executionjobs/status"): 2,
        ("kube-apiserver", "get", "endpoints"): 1,
    }


def test_rare_requests_are_not_of_a_job_and_reads_are_no_writes() -> None:
    rows = audit.per_job(
        {("operator", "create", "pods"): 100, ("bench", "create", "executionjobs"): 100,
         ("operator", "get", "pods"): 50, ("operator", "create", "secrets"): 1},
        100,
    )  # fmt: skip

    assert [row["perJob"] for row in rows] == [1.0, 1.0, 0.5]
    assert audit.writes(rows) == 2.0
    assert audit.writes(rows, "operator") == 1.0


def test_a_line_that_is_not_written_whole_is_read_later(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    log.write_bytes(b"one\ntwo\nth")
    lines, offset = audit.lines_after(log, 4)
    log.write_bytes(b"one\ntwo\nthree\n")

    assert lines == [b"two"]
    assert audit.lines_after(log, offset)[0] == [b"three"]


def test_the_first_and_last_tenth_are_those_of_the_requests() -> None:
    found = load.tenths([0.1] * 10 + [0.5] * 80 + [0.3] * 9 + [0.4])

    assert found["first"] == {"p50": 100, "p99": 100}
    assert found["last"] == {"p50": 300, "p99": 400}
    assert found["all"]["p50"] == 500


def test_ratios_are_those_of_a_round_and_the_worst_last_tenth_counts() -> None:
    runs = [
        a_run("pod", 0, 60), a_run("inline", 0, 30, 100, 120),
        a_run("inline", 1, 3, 100, 150), a_run("pod", 1, 6),
        a_run("batch", 0, 3), a_run("batch", 1, 0.3),
    ]  # fmt: skip

    assert tables.ratios({"runs": runs}) == {
        "pod": 0.5, "batch": 10.0, "lastTenth": 1.5,
    }  # fmt: skip


def test_rows_have_a_cell_for_each_column_and_only_what_was_measured() -> None:
    rows = tables.rows({"runs": [a_run("pod", 0, 60), a_run("inline", 0, 30)]})

    assert list(rows) == [PODS.title, OURS.title]
    assert {len(cells) for cells in rows.values()} == {len(tables.HEAD) - 1}
    assert rows[OURS.title][:3] == ("50", "30.0", "0.50")
    assert rows[OURS.title][6] == "12.3"


def test_the_part_of_the_report_has_the_rates_of_all_rounds() -> None:
    runs = [a_run("pod", 0, 60), a_run("inline", 0, 30), a_run("inline", 1, 3, 100, 150)]
    part = tables.part({"runs": runs, "operatorPeakMiB": 120, "conditions": {}})

    (found,) = part["runs"]
    assert found["jobs"] == 50
    assert found["perSecond"] == {"pod": [60], "inline": [30, 3]}
    assert (found["firstTenthP99Millis"], found["lastTenthP99Millis"]) == (100, 150)
    assert (found["operatorMebibytes"], found["operatorCpuMillis"]) == (120, 12.34)


@pytest.mark.parametrize(
    ("left", "quick", "plan"),
    [(900, False, FULL), (300, False, replace(FULL, rounds=1)), (60, False, QUICK),
     (900, True, QUICK)],
)  # fmt: skip
def test_the_plan_fits_the_time_that_is_left(left: float, quick: bool, plan: Plan) -> None:
    assert plan_for(lambda seconds: seconds <= left, quick=quick) == plan


def test_rows_of_requests_compare_subjects() -> None:
    values = {"runs": [a_run("pod", 0, 60), a_run("inline", 0, 30)]}

    assert tables.request_rows(values) == [("operator", "create pods", "1.00", "-", "1.00")]


@pytest.mark.parametrize("plan", [QUICK, FULL])
def test_each_subject_runs_in_each_round(plan: Plan) -> None:
    order = plan.order()

    assert len(order) == len(ALL) * plan.rounds
    assert [s for n, s in order if n == 0] == list(ALL)
    assert plan.count(JOBS_DEFAULT) < plan.count(OURS) == plan.count(PODS)


def test_rounds_alternate_their_order() -> None:
    order = [subject for _, subject in Plan(1, 1, 2, subjects=(PODS, OURS)).order()]

    assert order == [PODS, OURS, OURS, PODS]


def test_a_pod_on_a_fake_node_runs_and_ends() -> None:
    options, *stages = yaml.safe_load_all(fakenodes.configuration())

    assert options["kind"] == "KwokConfiguration"
    assert [stage["metadata"]["name"] for stage in stages] == ["pod-run", "pod-end", "pod-gone"]
    assert "phase: Succeeded" in stages[1]["spec"]["next"]["statusTemplate"]


def test_pods_of_jobs_are_bare_pods() -> None:
    template = JOBS_EQUAL.manifest("x")["spec"]["template"]["spec"]

    assert template == PODS.manifest("x")["spec"]


def test_the_report_of_a_pod_is_authentic() -> None:
    manifest = built()
    report = ResultKeys(RESULT_KEY_MASTER).read_report(json.dumps(report_of(manifest)))

    assert report.result.job.uid == manifest["metadata"]["labels"][names.LABEL_JOB_UID]
    assert report.result.exit_code == 0
    assert report.result.authentication is not None


def test_the_report_of_another_key_is_refused() -> None:
    text = json.dumps(report_of(built()))

    with pytest.raises(result_auth.NotAuthenticError):
        ResultKeys("another-key").read_report(text)
