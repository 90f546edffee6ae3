"""docs/performance.md and its charts, from the numbers of a run."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from nanogrid.types import Json
from support.benchmark.charts import Bar, bars, curves, nice_step
from support.benchmark.data import completed
from support.benchmark.goals import GOALS
from support.benchmark.report import images, page
from support.benchmark.text import markdown_table, number

COMMITTED = Path("docs/performance.json")


def rows(text: str, word: str) -> list[list[str]]:
    """The cells of all rows of tables that have a word."""
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|") and word in line
    ]


def test_the_page_names_machine_commit_and_load(document: Json) -> None:
    text = page(document)

    assert "A quick run of 2026-12-01 09:00 UTC, commit abc1234" in text
    assert "2 rounds, 1 of them with much foreign load; load average 2.0 to 2.0" in text


def test_a_subject_has_medians_with_intervals_and_a_dash_where_it_has_no_result(
    document: Json,
) -> None:
    ((title, first, result, terminal),) = rows(page(document), "| bare pod + emptyDir |")

    assert title == "bare pod + emptyDir"
    assert (first, result, terminal) == ("900 (600–1,200, 2)", "–", "3,000 (2,000–4,000, 2)")


def test_every_goal_is_in_the_table_with_what_follows_from_the_numbers(document: Json) -> None:
    text = page(document)

    for goal in GOALS:
        assert len(rows(text, f"| {goal.text} |")) == 1
    (met,) = rows(text, "inline job: result")
    (missed,) = rows(text, "60 cold jobs at once")
    (absent,) = rows(text, "warm job: result, p50")
    assert met[-1] == "met"
    assert missed[-2:] == ["1.20 (one value)", "**not met**"]
    assert absent[-2:] == ["not measured: no pools here", "–"]


def test_the_page_says_what_was_left_out(document: Json) -> None:
    assert "- ExecutionJob on a pool: no pools here" in page(document)


def test_a_later_run_adds_only_what_the_earlier_one_lacks(document: Json) -> None:
    copies = document.pop("sync")
    document["skipped"]["sync"] = "not installed"
    pool = {**document["bursts"][0], "subject": "burst-pool"}
    warm = {**document["operator"]["cold"][0], "jobs": 50}
    later = {
        "meta": {**document["meta"], "date": "2026-12-02 10:00 UTC"}, "skipped": {}, "sync": copies,
        "latency": {"rounds": []}, "bursts": [*document["bursts"], pool],
        "operator": {"warm": [warm], "cold": []},
    }  # fmt: skip

    found = completed(document, later)

    assert found["sync"] == copies
    assert found["latency"] == document["latency"]
    assert found["bursts"] == [*document["bursts"], pool]
    assert found["operator"] == {"cold": document["operator"]["cold"], "warm": [warm]}
    assert list(found["meta"]["later"]) == ["sync", "pools"]
    text = page(found)
    assert "The part sync is of a run of 2026-12-02 10:00 UTC, commit abc1234." in text
    assert "not installed" not in text


def test_charts_are_xml_and_have_a_bar_per_figure(document: Json) -> None:
    found = images(document)

    latency = ET.fromstring(found["performance-latency.svg"])
    boxes = latency.findall("{*}rect")
    figures = sum(len(row) for row in document["latency"]["rounds"][0]["rows"].values())
    assert len(boxes) == 1 + 3 + figures  # background, legend
    assert len(ET.fromstring(found["performance-burst.svg"]).findall("{*}path")) == 2


def test_a_run_without_numbers_has_no_chart_and_no_table_of_subjects(document: Json) -> None:
    empty = {"meta": document["meta"], "skipped": {}}

    assert images(empty) == {}
    assert "## One job" not in page(empty)
    assert "images/" not in page(empty)


def test_a_bar_is_as_long_as_its_value() -> None:
    drawn = ET.fromstring(
        bars("t", ["a"], {"x": [Bar(0, 50, 40, 60)], "y": [Bar(0, 100, 90, 120)]}, "ms")
    )
    half, whole = [float(box.attrib["width"]) for box in drawn.findall("{*}rect")[2:]]

    assert whole == pytest.approx(2 * half, abs=0.2)


def test_names_in_charts_are_escaped() -> None:
    assert "a &lt; b" in curves("a < b", {"x": [1.0]}, "s")


@pytest.mark.parametrize("draw", [lambda: bars("t", [], {}, "ms"), lambda: curves("t", {}, "s")])
def test_a_chart_of_nothing_is_refused(draw: object) -> None:
    assert callable(draw)
    with pytest.raises(ValueError, match="to draw"):
        draw()


@pytest.mark.parametrize(("most", "step"), [(6, 1), (9, 2), (3400, 1000), (0.5, 0.1)])
def test_ticks_are_at_round_numbers(most: float, step: float) -> None:
    assert nice_step(most) == pytest.approx(step)


@pytest.mark.parametrize(
    ("value", "text"), [(1234.5, "1,234"), (99.94, "99.9"), (0.356, "0.36"), (0.0, "0.00")]
)
def test_a_number_has_about_three_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_a_bar_in_a_cell_does_not_end_it() -> None:
    assert markdown_table(("a",), [["x|y"]]).splitlines()[-1] == "| x\\|y |"


def test_the_committed_page_and_charts_are_those_of_the_committed_numbers() -> None:
    document = json.loads(COMMITTED.read_text(encoding="utf-8"))

    assert Path("docs/performance.md").read_text(encoding="utf-8") == page(document)
    for name, text in images(document).items():
        assert (Path("docs/images") / name).read_text(encoding="utf-8") == text
