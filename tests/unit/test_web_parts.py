"""The web page's pure parts: rows, views, plots, figures, seals and paths. No server."""

import hashlib
import random
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from integration.web_world import HOSTILE, a_job, result
from nanogrid.reasons import HELP, Reason
from nanogrid_gateway.api.outputs import SAFE_TYPES
from nanogrid_gateway.api.settings import SettingsError
from nanogrid_gateway.web import functionview, paths, plots, runview, words
from nanogrid_gateway.web.assets import FILES
from nanogrid_gateway.web.board import PAGE, Board, Filter, parts
from nanogrid_gateway.web.plots import Part, Point, ceiling
from nanogrid_gateway.web.rows import row_of, slim
from nanogrid_gateway.web.seal import MAX_VALUE, Seal
from nanogrid_gateway.web.settings import WebSettings

Json = dict[str, Any]
NOW = 1_800_000_000.0
HTMX = "htmx-2.0.11.min.js"


def job(request_id: str, uid: str = "", ago: float = 60, **status: Any) -> Json:
    body = a_job(request_id, ago, **status)
    body["metadata"]["uid"] = uid or request_id
    return body


def ended(request_id: str, **values: Any) -> Json:
    body = job(request_id, phase="Succeeded", reason="Completed")
    body["status"] |= {"peakMemory": "41Mi/512Mi", "result": result(body, **values)}
    return body


# --- figures ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 ms"), (312, "312 ms"), (8210, "8.2 s"), (59_950, "1 min 0 s"), (200_000, "3 min 20 s"),
     (7_500_000, "2 h 5 min"), (None, "")],
)  # fmt: skip
def test_durations_are_read_at_a_glance(value: int | None, text: str) -> None:
    assert words.millis(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (41 << 20, "41 MiB"), (5 << 29, "2.5 GiB"),
     (1 << 45, "32768 GiB"), (None, "")],
)  # fmt: skip
def test_sizes_are_in_binary_units(value: int | None, text: str) -> None:
    assert words.size(value) == text


@pytest.mark.parametrize(
    ("text", "count"),
    [("256Mi", 256 << 20), ("1.5Gi", 3 << 29), ("100M", 10**8), ("64k", 64_000), ("12", 12),
     ("", None), ("?", None), ("Mi", None), (None, None)],
)  # fmt: skip
def test_quantities_are_understood(text: str | None, count: int | None) -> None:
    assert words.quantity(text) == count


def test_times_are_utc_and_nonsense_is_empty() -> None:
    assert words.utc("2026-11-21T10:56:05Z") == "2026-11-21 10:56:05 UTC"
    assert [words.utc(text) for text in ("", None, "soon")] == ["", "", ""]


# --- rows and board --------------------------------------------------------------------------


def test_a_slim_job_gives_the_same_row_as_the_whole_one() -> None:
    reference = job("by-reference", phase="Pending", reason="Unschedulable", message="no room")
    reference["spec"]["functionRef"] = {"name": "other"}
    del reference["metadata"]["labels"]
    plain: Json = {"metadata": {"uid": "u", "name": "plain"}, "spec": {"code": {"inline": "x"}}}
    for body in (ended("a", stdout="x" * 1000), job("b"), reference, plain):
        assert row_of(slim(body)) == row_of(body)
    assert len(str(slim(ended("a", stdout="x" * 100_000)))) < 1500


def test_a_row_says_what_the_operator_measured() -> None:
    row = row_of(ended("a", peakMemoryBytes=41 << 20))

    assert (row.peak, row.limit, row.duration, row.exit_code) == (41 << 20, 512 << 20, 312, 0)
    assert (row.function, row.version, row.ended) == ("resize-images", "1", True)


def test_the_newest_come_first_and_pages_are_whole() -> None:
    board = Board()
    numbers = list(range(PAGE * 2 + 7))
    random.Random(5).shuffle(numbers)
    board.replace(job(f"r-{n:03}", ago=1000 - n) for n in numbers)

    shown = [board.page(Filter(), n) for n in (1, 2, 3)]

    found = [row.request_id for page in shown for row in page.rows]
    assert found == [f"r-{n:03}" for n in reversed(range(PAGE * 2 + 7))]
    assert {(p.pages, p.found) for p in shown} == {(3, PAGE * 2 + 7)}
    assert board.page(Filter(), 99).number == 3
    assert board.page(Filter(), -4).number == 1


def test_filters_narrow_and_go_together() -> None:
    board = Board()
    board.put(job("Sales-1", function="sales", phase="Failed"))
    board.put(job("sales-2", function="sales", phase="Running"))
    board.put(job("other-1", function="other", phase="Failed"))

    def ids(**wanted: str) -> set[str]:
        return {row.request_id for row in board.page(Filter(**wanted), 1).rows}

    assert ids(text="SALES") == {"Sales-1", "sales-2"}
    assert ids(phase="Failed") == {"Sales-1", "other-1"}
    assert ids(phase="Failed", function="sales") == {"Sales-1"}
    assert ids(function="sale") == set()
    assert board.functions() == ["other", "sales"]


def test_changes_and_deletions_reach_the_board() -> None:
    board = Board()
    board.put(job("a", phase="Running"))
    board.put(job("a", phase="Succeeded"))
    board.put(job("b"))
    board.drop(job("b"))
    board.drop(job("never-seen"))

    assert [(row.request_id, row.phase) for row in board.rows()] == [("a", "Succeeded")]


def test_too_many_runs_leave_the_oldest_ended_ones_out_and_say_so() -> None:
    board = Board(most=20)
    for n in range(40):
        phase = "Running" if n < 5 else "Succeeded"
        board.put(job(f"r-{n:02}", ago=1000 - n, phase=phase))

    kept = [row.request_id for row in board.rows()]

    assert len(kept) <= 20
    assert len(kept) + board.left_out == 40
    assert kept[0] == "r-39"
    assert {f"r-{n:02}" for n in range(5)} <= set(kept)


def test_the_queue_counts_jobs_and_names_who_waits_longest_and_why() -> None:
    board = Board()
    for n in range(4):
        board.put(job(f"w-{n}", ago=100 + n, phase="Pending", reason="Unschedulable"))
    board.put(job("new", ago=1, phase=""))
    board.put(job("runs", phase="Running", reason="Executing"))
    board.put(ended("done"))
    session = job("session", phase="Running")
    session["spec"]["mode"] = "Session"
    board.put(session)

    queue = board.queue(most=2)

    assert dict(queue.phases) == {"Pending": 5, "Running": 1, "Succeeded": 1}
    assert [row.request_id for row in queue.waiting] == ["w-3", "w-2"]
    assert queue.reasons["Pending", "Unschedulable"] == 4
    assert dict(queue.sessions) == {"Running": 1}
    assert sum(part.value for part in parts(queue)) == 7


# --- one run ---------------------------------------------------------------------------------


def test_the_timeline_adds_up_to_the_whole() -> None:
    timings = {"pendingMillis": 100, "executionMillis": 700, "uploadMillis": 0, "totalMillis": 1500}

    found = runview.stages(timings)

    assert [(p.kind, p.value) for p in found] == [("wait", 100), ("pod", 700), ("code", 700)]
    assert runview.stages({}) == []
    assert "earlier attempts" in runview.stages(timings, again=True)[1].label


def test_only_pictures_of_pixels_are_shown_in_place() -> None:
    kinds = ["image/png", "IMAGE/JPEG; x=y", "image/gif", "image/svg+xml", "text/html", "", None]
    found = runview.files([{"path": "x", "bytes": 10, "contentType": kind} for kind in kinds])

    assert [file.image for file in found] == [True, True, True, False, False, False, False]
    assert runview.RASTER <= SAFE_TYPES
    large = {"path": "x", "bytes": runview.IMAGE_BYTES + 1, "contentType": "image/png"}
    assert not runview.files([large])[0].image
    many = [{"path": str(n), "bytes": 1, "contentType": "image/png"} for n in range(30)]
    assert sum(file.image for file in runview.files(many)) == runview.IMAGES


def test_a_run_whose_job_is_gone_is_told_from_its_result() -> None:
    stored = {"requestId": "r", "functionId": "f", "status": "FAILED", "reason": "OOMKilled",
              "job": {"name": "run-r", "namespace": "n", "uid": "u"}, "exitCode": 137}  # fmt: skip

    view = runview.view_of("r", None, stored)

    assert (view.id, view.phase, view.reason, view.ended) == ("run-r", "Failed", "OOMKilled", True)
    assert view.help == HELP[Reason.OOM_KILLED]


def test_a_reason_of_a_newer_operator_has_no_help_and_no_error() -> None:
    view = runview.view_of("r", job("r", phase="Running", reason="BrandNew"), None)

    assert (view.reason, view.help, view.ended) == ("BrandNew", None, False)


@pytest.mark.parametrize(
    ("peak", "reason", "kind"),
    [(100, "Completed", "good"), (180, "Completed", "warn"), (200, "Completed", "bad"),
     (10, "OOMKilled", "bad")],
)  # fmt: skip
def test_memory_near_its_limit_is_marked(peak: int, reason: str, kind: str) -> None:
    assert runview.memory_kind(peak, 200, reason) == kind


# --- functions -------------------------------------------------------------------------------


def test_a_function_shows_its_newest_runs_first_and_plots_them_last() -> None:
    recent = [
        {"requestId": f"r{n}", "status": "SUCCESS", "reason": "Completed",
         "time": f"2026-11-21T10:00:{n:02}Z", "durationMillis": n, "peakMemoryBytes": n << 20}
        for n in (2, 0, 1)
    ]  # fmt: skip
    body: Json = {
        "metadata": {"name": "f"},
        "spec": {"versions": [{"version": 1}, {"version": 2}]},
        "status": {"recent": recent},
    }

    view = functionview.view_of(body, rows=[row_of(ended("not-used"))])

    assert [run.request_id for run in view.recent] == ["r2", "r1", "r0"]
    assert [v["version"] for v in view.versions] == [2, 1]
    assert [p.value for p in functionview.durations(view.recent)] == [0, 1, 2]


def test_without_a_list_of_its_own_a_functions_runs_come_from_the_jobs() -> None:
    timeout = job("slow", phase="Failed", reason="ExecutionTimeout")
    body: Json = {"metadata": {"name": "f"}, "spec": {"versions": []}}

    view = functionview.view_of(body, [row_of(ended("a")), row_of(timeout)])

    assert [(run.request_id, run.status, run.kind) for run in view.recent] == [
        ("a", "SUCCESS", "good"),
        ("slow", "TIMEOUT", "warn"),
    ]
    (first, _) = functionview.peaks(view.recent)[::-1]
    assert first.href == paths.run_path(view.recent[0].name)
    assert view.runs is None


# --- plots -----------------------------------------------------------------------------------


class Svg(HTMLParser):
    """The tags of a text with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_a_bars_parts_fill_it_and_the_smallest_can_be_seen() -> None:
    drawn = Svg(plots.bar([Part("a", 1, "a"), Part("b", 99_999, "b"), Part("c", 0, "c")], "t"))

    widths = [float(str(r["width"]).rstrip("%")) for r in drawn.all("rect")]
    assert len(widths) == 2
    assert sum(widths) == pytest.approx(100, abs=0.1)
    assert widths[0] > 0.5
    assert Svg(plots.bar([], "t")).all("rect") == []


def test_a_share_beyond_the_whole_fills_the_bar() -> None:
    (rect,) = Svg(plots.share(300, 200, "bad", "t")).all("rect")

    assert rect["width"] == "100.00%"


@given(
    values=st.lists(
        st.one_of(st.none(), st.floats(0, 1e15, allow_nan=False)), min_size=1, max_size=60
    ),
    limit=st.one_of(st.none(), st.floats(1, 1e12)),
)
def test_every_point_of_a_plot_lies_inside_it(
    values: list[float | None], limit: float | None
) -> None:
    points = [Point(value, "good", "x", "/x", limit) for value in values]

    drawn = Svg(plots.plot(points, "t", str))

    circles = drawn.all("circle")
    assert len(circles) == sum(value is not None for value in values)
    for circle in circles:
        assert 0 <= float(str(circle["cx"])) <= plots.WIDTH
        assert plots.TOP - 1 <= float(str(circle["cy"])) <= plots.HEIGHT - plots.BOTTOM + 1


@given(st.floats(1e-6, 1e18))
def test_the_axis_ends_at_or_above_the_highest_value(value: float) -> None:
    assert value <= ceiling(value) * (1 + 1e-9)
    assert ceiling(value) <= value * 1.7


def test_the_memory_axis_has_round_binary_numbers() -> None:
    drawn = plots.plot([Point(300 << 20, "good", "x", "/")], "t", words.size, words.MIB)

    assert ">300 MiB<" in drawn
    assert ">150 MiB<" in drawn


def test_hostile_text_in_plots_is_text() -> None:
    point = Point(1.0, HOSTILE, HOSTILE, f"/x?{HOSTILE}")
    for drawn in (
        plots.plot([point], HOSTILE, lambda value: HOSTILE),
        plots.spark([point], HOSTILE),
        plots.bar([Part(HOSTILE, 1, HOSTILE)], HOSTILE),
        plots.share(1, 2, HOSTILE, HOSTILE),
    ):
        assert isinstance(drawn, Markup)
        allowed = {"svg", "a", "line", "circle", "title", "text", "rect"}
        assert {tag for tag, _ in Svg(drawn).tags} <= allowed


# --- seals, settings, paths ------------------------------------------------------------------


def test_a_sealed_token_opens_until_it_expires_and_in_every_replica() -> None:
    value = Seal(b"k" * 32, 100).close("the-token", NOW)
    assert value is not None

    other = Seal(b"k" * 32, 100)

    assert other.open(value, NOW + 99) == "the-token"
    assert other.open(value, NOW + 100) is None
    assert "the-token" not in value
    assert Seal(b"x" * 32, 100).open(value, NOW) is None


def test_no_byte_of_a_sealed_value_can_be_changed() -> None:
    seal = Seal(b"k" * 32, 100)
    value = seal.close("token" * 20, NOW)
    assert value is not None
    assert seal.open(value, NOW) is not None
    for at in range(len(value) - 1):  # the last character may have bits that mean nothing
        changed = value[:at] + ("A" if value[at] != "A" else "B") + value[at + 1 :]
        assert seal.open(changed, NOW) is None


@given(st.text())
def test_nonsense_opens_nothing(value: str) -> None:
    assert Seal(b"k" * 32, 100).open(value, NOW) is None


def test_a_token_that_no_cookie_can_hold_is_refused() -> None:
    seal = Seal(b"k" * 32, 100)
    fits = seal.close("t" * 2700, NOW)

    assert fits is not None
    assert len(fits) <= MAX_VALUE
    assert seal.close("t" * 2900, NOW) is None


def test_a_forms_word_belongs_to_one_caller() -> None:
    seal = Seal(b"k" * 32, 100)
    word = seal.form_word("Bearer a")

    assert seal.is_form_word(word, "Bearer a")
    assert not seal.is_form_word(word, "Bearer b")
    assert not seal.is_form_word("", "Bearer a")
    assert not seal.is_form_word("é", "Bearer a")


def test_settings_are_checked_and_a_key_is_made_where_none_is_given() -> None:
    given = WebSettings.from_env({"NANOGRID_WEB_KEY": "k" * 20, "NANOGRID_WEB_SIGN_IN_HOURS": "2"})
    assert given == WebSettings(key=b"k" * 20, seconds=7200)
    assert WebSettings.from_env({}).key != WebSettings.from_env({}).key
    for name, value in (
        ("NANOGRID_WEB_KEY", "short"),
        ("NANOGRID_WEB_SIGN_IN_HOURS", "0"),
        ("NANOGRID_WEB_SIGN_IN_HOURS", "nan"),
        ("NANOGRID_WEB_SIGN_IN_HOURS", "long"),
    ):
        with pytest.raises(SettingsError, match=name):
            WebSettings.from_env({name: value})


@pytest.mark.parametrize(
    "target",
    ["", "https://evil.example/web/", "//evil.example", "/web//evil.example", "/web", "/runs/1",
     "/web/\\evil", "/web/\r\nSet-Cookie: x", "javascript:alert(1)"],
)  # fmt: skip
def test_after_signing_in_one_goes_to_our_own_pages_only(target: str) -> None:
    assert paths.local(target) == paths.HOME
    assert paths.local("/web/runs/a?x=y") == "/web/runs/a?x=y"


def test_names_in_paths_cannot_leave_them() -> None:
    assert paths.run_path("../x?y#z") == "/web/runs/..%2Fx%3Fy%23z"
    assert paths.file_path("r", 'a b/"<.png') == "/web/runs/r/files/a%20b/%22%3C.png"


# --- what is served --------------------------------------------------------------------------


def test_htmx_is_the_release_that_its_name_says_unchanged() -> None:
    _, content, _ = FILES[HTMX]

    digest = hashlib.sha256(content).hexdigest()
    assert digest == "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717"
    assert b'version:"2.0.11"' in content
    assert b"Zero-Clause BSD" in FILES["htmx-2.0.11.LICENSE.txt"][1]


def test_styles_and_scripts_ask_nobody_else_for_anything() -> None:
    for name in ("page.css", "page.js", "icon.svg"):
        text = FILES[name][1].decode()
        addresses = re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]+[^\s\"']*|@import|url\(", text)
        assert [a for a in addresses if "www.w3.org" not in a] == [], name
