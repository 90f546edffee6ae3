"""docs/python.md is correct: its code blocks run, except those that need a cluster."""

import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nanogrid.cli.http_serving import serving
from nanogrid.client import build_job
from nanogrid.client.jobs.result import BY_REASON
from support.api_store import NAMESPACE, ApiStore, run_inline
from support.client_server import FakeApi
from support.client_session_server import FakeSession, ready_session
from support.doc_blocks import blocks, run_blocks
from support.fake_gateway import RESULT, FakeGateway

PAGE = Path("docs/python.md")


def operator(api: ApiStore, path: str, job: dict[str, Any]) -> None:
    if job["spec"].get("mode") == "Session":
        ready_session(api, job["metadata"]["name"])
    else:
        run_inline(api, path, job)


@pytest.fixture
def world(
    api: FakeApi, gateway: FakeGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FakeApi]:
    """An API server, a router and a gateway, with their addresses in the environment."""
    remote = FakeSession()
    remote.on_end = lambda name: api.finish(api.job_path(name), reason="SessionEnded")
    api.operator = operator
    gateway.script = [(200, RESULT)]
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": api.url}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [
            {"name": "c", "context": {"cluster": "c", "user": "u", "namespace": NAMESPACE}}
        ],
    }
    (tmp_path / "config").write_text(json.dumps(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("NANOGRID_ROUTER_URL", remote.router)
    monkeypatch.setenv("NANOGRID_URL", gateway.url)
    monkeypatch.setenv("GREETING", "hello")  # this operator knows no spec.env
    with serving(remote):
        yield api


def test_the_blocks_of_the_page_run(world: FakeApi) -> None:
    done = run_blocks(PAGE, {"", "gateway"}, {})
    assert done == len([marker for marker, *_ in blocks(PAGE) if marker != "cluster"])
    assert len(world.objects) > done


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
