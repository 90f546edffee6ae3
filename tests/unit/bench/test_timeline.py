"""The steps of a job, from the columns of its rows."""

import copy
import xml.etree.ElementTree as ET

from nanogrid.types import Json
from support.benchmark import subjects as s
from support.benchmark.report import TIMELINE_CHART, images, page
from support.benchmark.timeline import durations, steps


def with_steps(document: Json) -> Json:
    """The document, with steps of the inline job and of one on a pool."""
    found = copy.deepcopy(document)
    for one in found["latency"]["rounds"]:
        rows = one["rows"]
        rows["inline"] |= {"pod": 20.0, "bound": 30.0, "process": 500.0}
        rows["warm"] = {
            "pod": 25.0, "bound": 24.0, "process": -3000.0, "first": 50.0, "result": 70.0,
            "terminal": 75.0,
        }  # fmt: skip
    return found


def test_a_step_ends_at_the_median_of_its_column(document: Json) -> None:
    ends = steps(with_steps(document), s.INLINE)

    assert ends == {
        "pod": 20, "bound": 30, "process": 500, "first": 990, "result": 1050, "terminal": 1065,
    }  # fmt: skip
    assert durations(ends) == {
        "pod": 20, "bound": 10, "process": 470, "first": 490, "result": 60, "terminal": 15,
    }  # fmt: skip


def test_a_job_on_a_pool_has_no_step_before_its_claim(document: Json) -> None:
    assert list(steps(with_steps(document), s.WARM)) == ["pod", "first", "result", "terminal"]


def test_page_and_chart_have_each_step(document: Json) -> None:
    found = with_steps(document)

    drawn = ET.fromstring(images(found)[TIMELINE_CHART])
    boxes = [box for box in drawn.findall("{*}rect")[1:] if float(box.attrib["x"]) >= 330.0]
    assert "## Where the time goes" in page(found)
    # inline has six steps, warm four; pod and pod-volume two, and s3-init three.
    assert len(boxes) == 6 + 4 + 2 + 2 + 3


def test_numbers_without_steps_have_no_chart(document: Json) -> None:
    assert TIMELINE_CHART not in images(document)
    assert "## Where the time goes" not in page(document)
