"""docs/python.md is correct: its code blocks run, except those that need a cluster."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from nanogrid.client import build_job
from nanogrid.client.jobs.result import BY_REASON
from support.client_world import ClientWorld, client_world
from support.doc_blocks import blocks, run_blocks

PAGE = Path("docs/python.md")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ClientWorld]:
    """An API server, a session and a gateway, with their addresses in the environment."""
    with client_world(tmp_path) as found:
        for name, value in found.env.items():
            monkeypatch.setenv(name, value)
        yield found


def test_the_blocks_of_the_page_run(world: ClientWorld) -> None:
    done = run_blocks(PAGE, {"", "gateway"}, {})
    assert done == len([marker for marker, *_ in blocks(PAGE) if marker != "cluster"])
    assert len(world.api.objects) > done


def rows(heading: str) -> dict[str, str]:
    """The table of a section: the first cell to the others."""
    section = re.split(r"^#+ ", PAGE.read_text().partition(f"{heading}\n")[2], flags=re.M)[0]
    lines = (line for line in section.splitlines() if line.startswith("| `"))
    return dict(line.strip("|").split("|", 1) for line in lines)


def test_the_table_of_errors_matches_the_code() -> None:
    listed = {name.strip(" `"): reasons for name, reasons in rows("## Run code").items()}
    assert set(listed) == {kind.__name__ for kind in BY_REASON.values()}
    for reason, kind in BY_REASON.items():
        assert reason in listed[kind.__name__] or "others" in listed[kind.__name__]
    for name, reasons in listed.items():
        named = reasons.partition(":")[0].replace(" and others", "").strip(" |").split(", ")
        assert {BY_REASON[reason].__name__ for reason in named} == {name}


def test_the_table_of_keywords_matches_the_code() -> None:
    listed = [name for cell in rows("### Keywords") for name in re.findall(r"`(\w+)`", cell)]
    local = {"file", "directory", "input"}
    assert len(set(listed)) == len(listed)
    assert set(listed) == set(inspect.signature(build_job).parameters) | local
