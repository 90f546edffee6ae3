"""Lists, output files and logs of runs, over HTTP."""

from collections.abc import Iterator

import pytest

from nanogrid import names, wire
from support.builders import merge_patch
from support.gateway_fixtures import MARKS
from support.gateway_results import finish, result_of
from support.gateway_runs import CODE
from support.gateway_world import Gateway, World, quoted

pytestmark = [*MARKS, pytest.mark.security]


def test_runs_are_listed_page_by_page_and_filtered(
    world: World, gateway: Gateway, function: str
) -> None:
    other = gateway.upload(CODE).json["functionId"]
    for number in range(3):
        gateway.run(other, {"after": 0}, requestId=f"list-{number}-{other}")
    gateway.run(other, None, requestId=f"list-open-{other}", wait=0)

    found, token = [], ""
    while True:
        path = f"/runs?functionId={other}&limit=2" + (f"&continue={token}" if token else "")
        page = gateway.call("GET", path).json
        assert len(page["runs"]) <= 2
        found += [run["requestId"] for run in page["runs"]]
        token = page.get("continue", "")
        if not token:
            break
    ended = gateway.call("GET", f"/runs?functionId={other}&phase=Succeeded").json["runs"]

    assert sorted(found) == sorted([f"list-{n}-{other}" for n in range(3)] + [f"list-open-{other}"])
    assert {run["status"] for run in ended} == {"SUCCESS"}
    assert len(ended) == 3
    for wrong in ("phase=Dancing", "limit=0", "limit=x", "continue=%21", "other=1"):
        assert gateway.call("GET", f"/runs?{wrong}").status == 400, wrong


def test_outputs_are_attachments_with_safe_types(
    world: World, gateway: Gateway, function: str, request_id: str
) -> None:
    gateway.run(function, None, requestId=request_id, wait=0)
    job = world.cluster.job(request_id)
    given = {"보고서.pdf": "application/pdf", "a/x.html": "text/html", 'q"\r.csv': "text/csv"}
    outputs = []
    for name, kind in given.items():
        key = names.outputs_prefix(request_id) + name
        world.s3.put(key, name.encode())
        url = f"s3://user-data/{key}"
        outputs.append(
            wire.OutputFile(path=name, url=url, bytes=1, sha256="0" * 64, content_type=kind)
        )
    early = gateway.call("GET", f"/runs/{request_id}/outputs/a/x.html")
    finish(world.cluster, job, result_of(job, outputs=outputs))

    answers = {n: gateway.call("GET", f"/runs/{request_id}/outputs/{quoted(n)}") for n in given}
    missing = gateway.call("GET", f"/runs/{request_id}/outputs/other")

    assert early.status == missing.status == 404
    assert missing.reason == "OutputNotFound"
    for name, answer in answers.items():
        assert answer.status == 200, answer.body
        assert answer.body == name.encode()
        assert answer.headers["Content-Disposition"].startswith("attachment; filename=")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answers["보고서.pdf"].headers["Content-Type"] == "application/pdf"
    assert answers["a/x.html"].headers["Content-Type"] == "application/octet-stream"
    assert "filename*=UTF-8''%EB%B3%B4" in answers["보고서.pdf"].headers["Content-Disposition"]


def test_logs_are_streamed_and_end_with_the_result(
    world: World, gateway: Gateway, function: str, request_id: str
) -> None:
    gateway.run(function, None, requestId=request_id, wait=0)
    job = world.cluster.job(request_id)
    half = "합".encode()

    def log() -> Iterator[bytes]:
        """The run ends after its log was sent."""
        yield from (b"one\n", half[:2], half[2:] + b"\n")
        finish(world.cluster, job, result_of(job))

    world.cluster.logs["pod-1"] = log()
    running = {"status": {"phase": "Running", "podName": "pod-1", "requestId": request_id}}
    world.cluster.write(names.PLURAL, merge_patch(job, running))

    events = gateway.events(f"/runs/{request_id}/logs")

    assert "".join(data["text"] for name, data in events if name == "log") == "one\n합\n"
    assert events[-1][0] == "end"
    assert events[-1][1]["status"] == "SUCCESS"

    after = gateway.events(f"/runs/{request_id}/logs")
    assert [name for name, _ in after] == ["log", "end"]
    assert after[0][1] == {"stream": "stdout", "text": "합계\n"}
    assert gateway.call("GET", "/runs/unknown/logs").status == 404
