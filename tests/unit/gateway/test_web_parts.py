"""The web page's pure parts: formatting, rows, the run index, views. No server."""

import random
from typing import Any

import pytest

from nanogrid.hints import Surface, hint_for
from nanogrid.reasons import HELP, Reason, sentence
from nanogrid.types import Json
from nanogrid_gateway.api.runs.outputs import SAFE_TYPES
from nanogrid_gateway.web import formatting, function_view, paths, run_view
from nanogrid_gateway.web.rows import compact, row_of
from nanogrid_gateway.web.run_index import RunIndex
from nanogrid_gateway.web.run_list import PAGE_ROWS, Filter
from support.web_world import a_job, result

pytestmark = pytest.mark.security
OWN = paths.Scopes("functions", everywhere=False).own


def job(request_id: str, uid: str = "", ago: float = 60, **status: Any) -> Json:
    body = a_job(request_id, ago, **status)
    body["metadata"]["uid"] = uid or request_id
    return body


def ended(request_id: str, **values: Any) -> Json:
    body = job(request_id, phase="Succeeded", reason="Completed")
    body["status"] |= {"peakMemory": "41Mi/512Mi", "result": result(body, **values)}
    return body


# --- formatting ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 ms"), (312, "312 ms"), (8210, "8.2 s"), (59_950, "1 min 0 s"), (200_000, "3 min 20 s"),
     (7_500_000, "2 h 5 min"), (None, "")],
)  # fmt: skip
def test_durations_have_two_units_at_most(value: int | None, text: str) -> None:
    assert formatting.millis(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0B"), (1023, "1023B"), (1024, "1Ki"), (41 << 20, "41Mi"), (5 << 29, "2560Mi"),
     (1 << 45, "32Ti"), (None, "")],
)  # fmt: skip
def test_sizes_are_in_binary_units(value: int | None, text: str) -> None:
    assert formatting.size(value) == text


@pytest.mark.parametrize(
    ("text", "count"),
    [("256Mi", 256 << 20), ("1.5Gi", 3 << 29), ("100M", 10**8), ("64k", 64_000), ("12", 12),
     ("", None), ("?", None), ("Mi", None), (None, None)],
)  # fmt: skip
def test_quantities_are_bytes(text: str | None, count: int | None) -> None:
    assert formatting.quantity(text) == count


def test_times_are_utc_and_invalid_ones_are_empty() -> None:
    assert formatting.utc("2026-11-21T10:56:05Z") == "2026-11-21 10:56:05 UTC"
    assert [formatting.utc(text) for text in ("", None, "soon")] == ["", "", ""]


# --- rows and run index ----------------------------------------------------------------------


def test_a_compact_job_gives_the_same_row() -> None:
    reference = job("by-reference", phase="Pending", reason="Unschedulable", message="no room")
    reference["spec"]["functionRef"] = {"name": "other"}
    del reference["metadata"]["labels"]
    plain: Json = {"metadata": {"uid": "u", "name": "plain"}, "spec": {"code": {"inline": "x"}}}
    for body in (ended("a", stdout="x" * 1000), job("b"), reference, plain):
        assert row_of(compact(body)) == row_of(body)
    large = ended("a", stdout="x" * 100_000)
    large["status"]["function"]["env"] = [{"name": "LARGE", "value": "x" * 60_000}]
    assert len(str(compact(large))) < 800


def test_a_run_that_waits_shows_the_memory_limit_of_its_function() -> None:
    waiting = job("a", phase="Pending", limit="384Mi")
    own = job("b", phase="Pending", limit="384Mi")
    own["spec"]["resources"] = {"limits": {"memory": "64Mi"}}

    assert [row_of(body).limit for body in (waiting, own)] == [384 << 20, 64 << 20]


def test_a_row_has_the_measured_values() -> None:
    row = row_of(ended("a", peakMemoryBytes=41 << 20))

    assert (row.peak, row.limit, row.duration, row.exit_code) == (41 << 20, 512 << 20, 312, 0)
    assert (row.function, row.version, row.ended) == ("resize-images", "1", True)


def test_the_newest_runs_come_first_and_pages_are_complete() -> None:
    index = RunIndex()
    numbers = list(range(PAGE_ROWS * 2 + 7))
    random.Random(5).shuffle(numbers)
    index.replace(job(f"r-{n:03}", ago=1000 - n) for n in numbers)

    shown = [index.runs().page(Filter(), n) for n in (1, 2, 3)]

    found = [row.request_id for page in shown for row in page.rows]
    assert found == [f"r-{n:03}" for n in reversed(range(PAGE_ROWS * 2 + 7))]
    assert {(p.pages, p.found) for p in shown} == {(3, PAGE_ROWS * 2 + 7)}
    assert index.runs().page(Filter(), 99).number == 3
    assert index.runs().page(Filter(), -4).number == 1


def test_filters_can_be_combined() -> None:
    index = RunIndex()
    index.put(job("Sales-1", function="sales", phase="Failed"))
    index.put(job("sales-2", function="sales", phase="Running"))
    index.put(job("other-1", function="other", phase="Failed"))

    def ids(**fields: str) -> set[str]:
        return {row.request_id for row in index.runs().page(Filter(**fields), 1).rows}

    assert ids(text="SALES") == {"Sales-1", "sales-2"}
    assert ids(phase="Failed") == {"Sales-1", "other-1"}
    assert ids(phase="Failed", function="sales") == {"Sales-1"}
    assert ids(function="sale") == set()
    assert index.runs().functions() == ["other", "sales"]


def test_changes_and_deletions_reach_the_index() -> None:
    index = RunIndex()
    index.put(job("a", phase="Running"))
    index.put(job("a", phase="Succeeded"))
    index.put(job("b"))
    index.drop(job("b"))
    index.drop(job("never-seen"))

    assert [(row.request_id, row.phase) for row in index.runs().rows] == [("a", "Succeeded")]


def test_the_oldest_finished_runs_are_left_out_and_counted() -> None:
    index = RunIndex(max_rows=20)
    for n in range(40):
        phase = "Running" if n < 5 else "Succeeded"
        index.put(job(f"r-{n:02}", ago=1000 - n, phase=phase))

    kept = [row.request_id for row in index.runs().rows]

    assert len(kept) <= 20
    assert len(kept) + index.runs().left_out == 40
    assert kept[0] == "r-39"
    assert {f"r-{n:02}" for n in range(5)} <= set(kept)


def test_the_queue_has_counts_reasons_and_the_longest_waiting_runs() -> None:
    index = RunIndex()
    for n in range(4):
        index.put(job(f"w-{n}", ago=100 + n, phase="Pending", reason="Unschedulable"))
    index.put(job("new", ago=1, phase=""))
    index.put(job("runs", phase="Running", reason="Executing"))
    index.put(ended("done"))
    session = job("session", phase="Running")
    session["spec"]["mode"] = "Session"
    index.put(session)

    queue = index.runs().queue(limit=2)

    assert dict(queue.phases) == {"Pending": 5, "Running": 1, "Succeeded": 1}
    assert [row.request_id for row in queue.waiting] == ["w-3", "w-2"]
    assert queue.reasons["Pending", "Unschedulable"] == 4
    assert dict(queue.sessions) == {"Running": 1}
    assert sum(part.value for part in queue.parts()) == 7


# --- one run ---------------------------------------------------------------------------------


def test_the_stages_add_up_to_the_total() -> None:
    timings = {"pendingMillis": 100, "executionMillis": 700, "uploadMillis": 0, "totalMillis": 1500}

    found = run_view.stages(timings)

    assert [(p.css_class, p.value) for p in found] == [("wait", 100), ("pod", 700), ("code", 700)]
    assert run_view.stages({}) == []
    assert "earlier attempts" in run_view.stages(timings, retried=True)[1].label


def test_only_raster_images_are_shown() -> None:
    types = ["image/png", "IMAGE/JPEG; x=y", "image/gif", "image/svg+xml", "text/html", "", None]
    found = run_view.files([{"path": "x", "bytes": 10, "contentType": text} for text in types])

    assert [file.image for file in found] == [True, True, True, False, False, False, False]
    assert run_view.RASTER <= SAFE_TYPES
    large = {"path": "x", "bytes": run_view.MAX_IMAGE_BYTES + 1, "contentType": "image/png"}
    assert not run_view.files([large])[0].image
    many = [{"path": str(n), "bytes": 1, "contentType": "image/png"} for n in range(30)]
    assert sum(file.image for file in run_view.files(many)) == run_view.MAX_IMAGES


def test_a_run_without_a_job_is_shown_from_its_result() -> None:
    stored = {"requestId": "r", "functionId": "f", "status": "FAILED", "reason": "OOMKilled",
              "job": {"name": "run-r", "namespace": "n", "uid": "u"}, "exitCode": 137}  # fmt: skip

    stored |= {"outputsNote": "2 files match no include pattern"}
    view = run_view.view_of("r", None, stored)
    assert view.outputs_note == "2 files match no include pattern"

    assert (view.id, view.phase, view.reason, view.ended) == ("run-r", "Failed", "OOMKilled", True)
    assert view.meaning == HELP[Reason.OOM_KILLED].meaning
    assert view.hint == hint_for(Reason.OOM_KILLED, Surface.WEB)


def test_an_unknown_reason_has_no_help_and_is_no_error() -> None:
    view = run_view.view_of("r", job("r", phase="Running", reason="BrandNew"), None)

    assert (view.reason, view.meaning, view.ended) == ("BrandNew", "", False)


@pytest.mark.parametrize(
    ("peak", "reason", "css_class"),
    [(100, "Completed", "good"), (180, "Completed", "warn"), (200, "Completed", "bad"),
     (10, "OOMKilled", "bad")],
)  # fmt: skip
def test_memory_near_its_limit_is_marked(peak: int, reason: str, css_class: str) -> None:
    assert run_view.memory_class(peak, 200, reason) == css_class


# --- functions -------------------------------------------------------------------------------


def test_a_function_lists_the_newest_run_first_and_plots_it_last() -> None:
    recent = [
        {"requestId": f"r{n}", "status": "SUCCESS", "reason": "Completed",
         "time": f"2026-11-21T10:00:{n:02}Z", "durationMillis": n, "peakMemoryBytes": n << 20}
        for n in (2, 0, 1)
    ]  # fmt: skip
    body: Json = {
        "metadata": {"name": "f"},
        "spec": {"versions": [{"version": 1}, {"version": 2}], "poolRef": {"name": "fast"}},
        "status": {"recent": recent},
    }

    view = function_view.view_of(body, rows=[row_of(ended("not-used"))])

    assert [run.request_id for run in view.recent] == ["r2", "r1", "r0"]
    assert [v["version"] for v in view.versions] == [2, 1]
    assert view.pool == "fast"
    assert [p.value for p in function_view.durations(view.recent, OWN)] == [0, 1, 2]


def test_runs_come_from_the_jobs_if_the_function_has_no_list() -> None:
    timeout = job("slow", phase="Failed", reason="ExecutionTimeout")
    body: Json = {"metadata": {"name": "f"}, "spec": {"versions": []}}

    view = function_view.view_of(body, [row_of(ended("a")), row_of(timeout)])

    assert [(run.request_id, run.status, run.css_class) for run in view.recent] == [
        ("a", "SUCCESS", "good"),
        ("slow", "TIMEOUT", "warn"),
    ]
    (first, _) = function_view.peaks(view.recent, OWN)[::-1]
    assert first.href == OWN.run(view.recent[0].name)
    assert view.runs is None


def test_a_running_job_has_its_memory_now_and_an_ended_one_does_not() -> None:
    body = job("a", phase="Running", reason="Executing", memory="38Mi", peakMemory="41Mi/512Mi")
    view = run_view.view_of("a", body, None)
    assert (view.memory, view.peak, view.limit) == (38 << 20, None, 512 << 20)

    done = ended("a", peakMemoryBytes=41 << 20)
    view = run_view.view_of("a", done, done["status"]["result"])
    assert (view.memory, view.peak) == (None, 41 << 20)


def test_a_run_shows_how_it_started() -> None:
    why = sentence(Reason.STARTED_COLD, "No pod of ExecutionPool fast was ready")
    cold = job("a", phase="Running", reason="Executing", start="Cold", startMessage=why)

    assert run_view.view_of("a", job("a", start="Warm"), None).start == "Warm"
    assert run_view.view_of("a", cold, None).start == (
        "Cold: No pod of ExecutionPool fast was ready"
    )
    assert run_view.view_of("a", job("a"), None).start == ""
