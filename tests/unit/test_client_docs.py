"""docs/python.md is true: its blocks run, as far as that is possible without a cluster."""

import json
from pathlib import Path
from typing import Any

import pytest

from docblocks import blocks, run_blocks
from nanogrid.client.errors import BY_REASON
from unit.client_server import NAMESPACE, FakeApi, run_inline, serving
from unit.client_session_server import FakeSession, ready_session
from unit.test_client_gateway import RESULT, FakeGateway

PAGE = Path("docs/python.md")


def operator(api: FakeApi, path: str, job: dict[str, Any]) -> None:
    if job["spec"].get("mode") == "Session":
        ready_session(api, job["metadata"]["name"])
    else:
        run_inline(api, path, job)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A kubeconfig that leads to an API server, a router and a gateway."""
    api, remote, gateway = FakeApi(), FakeSession(), FakeGateway()
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
    with serving(api), serving(remote), serving(gateway):
        yield api


def test_the_blocks_of_the_page_run(world: FakeApi) -> None:
    done = run_blocks(PAGE, {"", "gateway"}, {})
    assert done == len([marker for marker, *_ in blocks(PAGE) if marker != "cluster"])
    assert len(world.objects) > done


def test_the_table_of_errors_is_that_of_the_code() -> None:
    rows = dict(
        line.strip("|").split("|", 1) for line in PAGE.read_text().splitlines() if line[:3] == "| `"
    )
    told = {name.strip(" `"): reasons for name, reasons in rows.items()}
    assert set(told) == {kind.__name__ for kind in BY_REASON.values()}
    for reason, kind in BY_REASON.items():
        assert reason in told[kind.__name__] or "others" in told[kind.__name__]
    for name, reasons in told.items():
        named = reasons.partition(":")[0].replace(" and others", "").strip(" |").split(", ")
        assert {BY_REASON[reason].__name__ for reason in named} == {name}
