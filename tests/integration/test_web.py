"""The web page over HTTP: its content, and thousands of runs."""

import copy
import re
import threading
import urllib.parse
from collections.abc import Iterator

import pytest

from nanogrid import names
from nanogrid_gateway.api.runs.jobs import MANAGED_BY, job_name
from support.gateway_world import World, wait_for
from support.png import png
from support.s3_server import BUCKET, S3Server
from support.web_fixtures import MARKS, RUNS
from support.web_visitor import (
    FUNCTION,
    JOBS,
    PAGES,
    Tags,
    Visitor,
    attributes_of,
    digest_of,
    poll,
    shown_runs,
)
from support.web_world import a_job, add, add_finished, finish_run, stop_run

pytestmark = MARKS


# --- content ---------------------------------------------------------------------------------


def test_every_page_forbids_inline_code_and_code_of_other_hosts(visitor: Visitor) -> None:
    for _, path, _ in PAGES[:3] + PAGES[6:]:
        answer = visitor.get(path)
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
        for tag, attributes in Tags(answer).found:
            assert tag != "style", path
            assert "style" not in attributes, (path, tag)
            assert not [a for a in attributes if a.startswith("on")], (path, tag)


@pytest.mark.parametrize("path", ["/web/?q=hostile", "/web/runs/hostile"])
def test_all_texts_of_a_run_are_escaped(visitor: Visitor, path: str) -> None:
    answer = visitor.get(path)

    tags = Tags(answer)
    scripts = [a["src"] for t, a in tags.found if t == "script"]
    assert len(scripts) == 2
    assert all(source.startswith("/web/static/") for source in scripts)
    images = [a["src"] for t, a in tags.found if t == "img"]
    assert all(source.startswith("/web/runs/") for source in images)
    assert "<script>document.title='owned'</script>" in tags.text


def test_the_text_of_a_filter_is_escaped(visitor: Visitor) -> None:
    text = """"><script>x</script>'{{7*7}}"""
    answer = visitor.get(f"/web/?q={urllib.parse.quote(text)}&function={urllib.parse.quote(text)}")

    assert attributes_of(answer, "input", "name", "q")["value"] == text
    assert "No run matches the filter" in answer.body.decode()
    assert sum(tag == "script" for tag, _ in Tags(answer).found) == 2


def test_images_are_shown_and_other_files_are_downloads(visitor: Visitor) -> None:
    page = visitor.get("/web/runs/sales")
    sources = [a["src"] for t, a in Tags(page).found if t == "img"]
    folder = f"/web/runs/{job_name('sales')}/files"
    assert sources == [f"{folder}/chart.png?inline"]

    image = visitor.get(sources[0])
    assert (image.status, image.body) == (200, png())
    assert image.headers["Content-Type"] == "image/png"
    assert image.headers["Content-Disposition"] == "inline"
    for name, content_type in (
        ("evil.svg", "application/octet-stream"),
        ("report.html", "application/octet-stream"),
        ("totals.csv", "text/csv; charset=utf-8"),
    ):
        answer = visitor.get(f"{folder}/{name}?inline")
        assert answer.headers["Content-Type"] == content_type
        assert answer.headers["Content-Disposition"].startswith("attachment")
        assert answer.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert visitor.get(f"{folder}/other.png").status == 404


def test_a_run_shows_its_reason_hint_memory_and_attempts(
    visitor: Visitor,
) -> None:
    text = Tags(visitor.get("/web/runs/oom")).text

    assert "The kernel killed the code because it reached its memory limit." in text
    assert "Give the code more memory, or read the input in chunks." in text
    assert "spec." not in text.partition("Result")[0]
    assert "256Mi / 256Mi" in text
    assert "exit 137, SIGKILL" in text
    assert "earlier attempts" in text
    assert "epoch 2/20" in text


@pytest.mark.parametrize("path", ["/web/functions", f"/web/functions/{FUNCTION}", "/web/"])
def test_an_outcome_has_one_word_on_all_pages(visitor: Visitor, path: str) -> None:
    text = Tags(visitor.get(path)).text

    assert "Succeeded" in text
    assert not re.search(r"\b(SUCCESS|FAILED|TIMEOUT)\b", text)


def test_only_streams_with_output_are_shown(web_world: World, visitor: Visitor) -> None:
    outputs = (("out", ""), ("", "err"), ("out", "err"), ("", ""))
    shown = {}
    for number, (stdout, stderr) in enumerate(outputs):
        name = f"streams-{number}"
        add(web_world.cluster, a_job(name, ago=9, phase="Running", reason="Executing"))
        finish_run(web_world.cluster, name, stdout=stdout, stderr=stderr)
        ids = [a.get("id", "") for _, a in Tags(visitor.get(f"/web/runs/{name}")).found]
        titles = ("stdout-title", "stderr-title", "output-title")
        shown[stdout, stderr] = [one.removesuffix("-title") for one in ids if one in titles]
        web_world.cluster.remove(JOBS, job_name(name))

    assert shown == {
        ("out", ""): ["stdout"],
        ("", "err"): ["stderr"],
        ("out", "err"): ["stdout", "stderr"],
        ("", ""): ["output"],
    }


# Reads as "reportexe.jpg" where the formatting character takes effect.
HIDDEN = "report\u202egpj.exe"
SHOWN = r"report\u202egpj.exe"


def test_a_misleading_name_is_shown_as_it_is_and_downloads_exactly(
    web_world: World, visitor: Visitor, s3_server: S3Server
) -> None:
    key = f"outputs/hidden/{HIDDEN}"
    s3_server.put(key, b"content")
    kind = "text/plain; charset=utf-8"
    file = {"path": HIDDEN, "url": f"s3://{BUCKET}/{key}", "bytes": 7, "contentType": kind}
    job = a_job("hidden", ago=9, phase="Failed", reason="NonZeroExit")
    job["spec"] = {"requestId": "hidden", "functionRef": job["spec"]["functionRef"],
                   "args": [HIDDEN], "stdin": f"{HIDDEN}\n\tnext",
                   "inputs": [{"name": "data", "s3": {"key": HIDDEN}}]}  # fmt: skip
    message = f"Exit code 1. FileNotFoundError: {HIDDEN}"
    job["status"]["conditions"] = [{"type": "Executed", "status": "True", "message": message}]
    add_finished(web_world.cluster, job, status="FAILED", reason="NonZeroExit", exitCode=1,
                 message=message, outputs=[file], outputsNote=HIDDEN, stdout=HIDDEN)  # fmt: skip
    try:
        page = visitor.get("/web/runs/hidden")
        links = [a["href"] for t, a in Tags(page).found if t == "a" and "download" in a]
        answer = visitor.get(links[0])
    finally:
        web_world.cluster.remove(JOBS, job_name("hidden"))

    text = page.body.decode()
    # The file, the note, the message, the condition, the command, stdin, the input, the result.
    assert text.count(SHOWN) >= 8
    assert f"{SHOWN}\n\tnext" in text
    # Only what the code printed stays as it is.
    assert text.count(HIDDEN) == 1
    assert f'tabindex="0">\n{HIDDEN}</pre>' in text
    (link,) = links
    assert link.isascii()
    assert answer.body == b"content"
    name = answer.headers["Content-Disposition"].partition("filename*=UTF-8''")[2]
    assert urllib.parse.unquote(name) == HIDDEN


def test_the_text_of_a_filter_stays_exact(visitor: Visitor) -> None:
    answer = visitor.get(f"/web/?q={urllib.parse.quote(HIDDEN)}")
    assert attributes_of(answer, "input", "name", "q")["value"] == HIDDEN


CODE = {
    "metadata": {"name": "with-code", "labels": {"team": "a"}},
    "spec": {
        "requestId": "with-code-1",
        "code": {"inline": "print('<b>hi</b>')"},
        "args": ["--day", "2026-01-02 x"],
        "stdin": "<i>typed</i>",
        "inputs": [
            {"name": "data", "s3": {"prefix": "2026/"}, "mountPath": "/app/data"},
            {"name": "other", "s3": {"bucket": "b", "key": "k.csv"}},
        ],
        "env": [
            {"name": "PLAIN", "value": "hidden-value"},
            {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "t"}}},
        ],
        "suspend": False,
    },
    "status": {"phase": "Failed", "reason": "NonZeroExit"},
}


@pytest.fixture
def with_code(web_world: World) -> Iterator[str]:
    name = "with-code"
    web_world.cluster.write(JOBS, copy.deepcopy(CODE), create=True)
    yield name
    web_world.cluster.remove(JOBS, name)


def test_a_run_shows_its_code_and_input_without_values(visitor: Visitor, with_code: str) -> None:
    page = visitor.get(f"/web/runs/{with_code}")
    text = " ".join(Tags(page).text.split())

    for part in (
        "print('<b>hi</b>')",
        "<i>typed</i>",
        "--day '2026-01-02 x'",
        "data2026//app/data",
        "others3://b/k.csv/app/data",
        "PLAINvalue in the job",
        "TOKENkey t of Secret s",
    ):
        assert part in text, part
    assert "hidden-value" not in text
    assert "i" not in [tag for tag, _ in Tags(page).found]


def test_a_run_of_a_function_shows_its_zip(visitor: Visitor, web_world: World) -> None:
    job = a_job("zipped", ago=5, phase="Running", reason="Executing")
    pinned = {"s3": {"key": "functions/f/v2.zip"}, "command": ["python3", "a b.py"]}
    job["status"]["function"] |= pinned | {"env": [{"name": "MODE", "value": "x"}]}
    add(web_world.cluster, job)
    text = Tags(visitor.get("/web/runs/zipped")).text
    web_world.cluster.remove(JOBS, job_name("zipped"))

    assert "functions/f/v2.zip" in text
    assert "python3 'a b.py'" in text
    assert "MODE" in text


def test_an_ended_run_can_run_again(
    web_world: World, visitor: Visitor, with_code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_world.cluster, "on_create", lambda job: None)
    form = attributes_of(
        visitor.get(f"/web/runs/{with_code}"), "form", "action", f"/web/runs/{with_code}/again"
    )
    answer = visitor.post(form["action"], {"csrf_token": visitor.csrf_token()})

    assert answer.status == 303
    name = answer.headers["Location"].rpartition("/")[2]
    created = web_world.cluster.objects[JOBS, name]
    try:
        request_id = created["spec"]["requestId"]
        assert name == job_name(request_id)
        assert created["metadata"]["labels"] == {
            "team": "a",
            "app.kubernetes.io/managed-by": MANAGED_BY,
        }
        expected = {k: v for k, v in CODE["spec"].items() if k not in ("requestId", "suspend")}
        assert created["spec"] == expected | {"requestId": request_id}
        assert request_id in Tags(visitor.get(answer.headers["Location"])).text
    finally:
        web_world.cluster.remove(JOBS, name)


def test_unfinished_runs_and_sessions_do_not_run_again(
    web_world: World, visitor: Visitor, running: str, with_code: str
) -> None:
    assert "Run again" not in Tags(visitor.get(f"/web/runs/{running}")).text
    fields = {"csrf_token": visitor.csrf_token()}
    refused = visitor.post(f"/web/runs/{running}/again", fields)
    assert refused.status == 409
    assert "run that has ended" in Tags(refused).text

    job = web_world.cluster.objects[JOBS, with_code]
    web_world.cluster.write(JOBS, job | {"spec": job["spec"] | {"mode": "Session"}})
    assert "Run again" not in Tags(visitor.get(f"/web/runs/{with_code}")).text
    assert visitor.post(f"/web/runs/{with_code}/again", fields).status == 409
    assert visitor.post("/web/runs/nothing/again", fields).status == 404
    assert visitor.post(f"/web/runs/{with_code}/again", {}).status == 403


def test_a_run_that_stops_has_no_button_to_stop_it(
    web_world: World, visitor: Visitor, running: str
) -> None:
    assert "Cancel…" in Tags(visitor.get(f"/web/runs/{running}")).text
    stop_run(web_world.cluster, running)

    page = visitor.get(f"/web/runs/{running}")
    assert "stopping" in Tags(page).text
    assert "Cancel…" not in Tags(page).text
    assert b"data-stopping" in page.body


def test_a_run_is_found_by_job_name_and_by_request_id(visitor: Visitor) -> None:
    for name in ("sales", job_name("sales")):
        assert "24 regions" in Tags(visitor.get(f"/web/runs/{name}")).text
    assert visitor.get("/web/runs/nothing").status == 404
    assert visitor.get("/web/runs/..%2f..").status == 404


def test_a_job_of_kubectl_has_a_page(web_world: World, visitor: Visitor) -> None:
    body = {
        "metadata": {"name": "by-kubectl"},
        "spec": {"code": {"inline": "print(1)"}},
        "status": {"phase": "Pending", "reason": "Unschedulable", "message": "no room"},
    }
    web_world.cluster.write(JOBS, body, create=True)
    try:
        wait_for(lambda: shown_runs(visitor.get("/web/?q=by-kubectl")), "the job")
        assert "No node has room" in Tags(
            visitor.get("/web/runs/by-kubectl")
        ).text or "no room" in (Tags(visitor.get("/web/runs/by-kubectl")).text)
    finally:
        web_world.cluster.remove(JOBS, "by-kubectl")


def test_a_function_shows_versions_recommendation_and_plots(visitor: Visitor) -> None:
    listing = Tags(visitor.get("/web/functions"))
    page = visitor.get(f"/web/functions/{FUNCTION}")
    tags = Tags(page)

    assert "1,284" in listing.text
    assert "160Mi" in listing.text
    plots = [a["aria-label"] for t, a in tags.found if t == "svg" and a.get("class") == "plot"]
    assert plots == [
        "Durations of the last runs",
        "Peak memory of the last runs, with the limit",
    ]
    assert sum(a.get("class", "").startswith("dot ") for _, a in tags.found) == 100
    assert "functions/resize-images/v3.zip" in tags.text
    assert visitor.get("/web/functions/nothing").status == 404


def test_the_queue_shows_counts_and_the_longest_waiting_runs(visitor: Visitor) -> None:
    text = " ".join(Tags(visitor.get("/web/queue")).text.split())

    assert "Queue of namespace functions" in text
    assert "serves only this namespace" in text
    assert re.search(r"Unschedulable \d+", text)
    assert "0/3 nodes are available: 3 Insufficient memory." in text


def test_the_log_of_an_unfinished_run_is_streamed(
    web_world: World, visitor: Visitor, running: str
) -> None:
    web_world.cluster.logs[f"p-{running}"] = [b"<b>one</b>\n", b"two\n"]
    ending = threading.Thread(target=_finish_after_log_request, args=(web_world, running))
    ending.start()

    events = visitor.get(f"/web/runs/{running}/logs").body.decode()
    ending.join()

    assert "<b>one</b>\\n" in events
    assert "event: end" in events
    assert visitor.get("/web/runs/nothing/logs").status == 404


def _finish_after_log_request(web_world: World, request_id: str) -> None:
    path = f"/pods/p-{request_id}/log"
    wait_for(lambda: any(path in r for r in list(web_world.cluster.requests)), "the log request")
    finish_run(web_world.cluster, request_id)


# --- five thousand runs ----------------------------------------------------------------------


def test_the_newest_of_thousands_come_first_and_all_are_reachable(visitor: Visitor) -> None:
    first = visitor.get("/web/?q=run-0")
    last = visitor.get("/web/?q=run-0&page=100")

    assert shown_runs(first) == [f"run-{n:05}" for n in range(50)]
    assert shown_runs(last) == [f"run-{n:05}" for n in range(RUNS - 50, RUNS)]
    assert f"{RUNS:,} runs" in Tags(first).text
    failed = visitor.get("/web/?phase=Failed&function=train-model")
    assert "Succeeded</span>" not in failed.body.decode()
    assert len(shown_runs(failed)) == 50


def test_an_open_page_sends_no_request_to_the_api_server_and_few_bytes(
    web_world: World, visitor: Visitor
) -> None:
    page = visitor.get("/web/?q=run-0")
    seen = digest_of(page)

    def requests() -> list[str]:
        """Those about jobs, except that the gateway's only watch is renewed from time to time."""
        found = [r for r in web_world.cluster.requests if "executionjobs" in r]
        return [r for r in found if not r.startswith("WATCH ")]

    before = requests()

    answers = [poll(visitor, "/web/?q=run-0", seen) for _ in range(20)]

    assert {(a.status, len(a.body)) for a in answers} == {(204, 0)}
    assert requests() == before
    page_seconds = sorted(visitor.get("/web/?q=run-0").seconds for _ in range(20))[10]
    poll_seconds = sorted(a.seconds for a in answers)[10]
    print(
        f"{RUNS} runs: a page in {page_seconds * 1000:.0f} ms (median), {len(page.body)} bytes; "
        f"a poll without changes in {poll_seconds * 1000:.0f} ms"
    )


def test_a_change_reaches_an_open_page(web_world: World, visitor: Visitor, running: str) -> None:
    path = f"/web/?q={running}"
    wait_for(lambda: shown_runs(visitor.get(path)) == [running], "the run")
    seen = digest_of(visitor.get(path))
    assert poll(visitor, path, seen).status == 204

    finish_run(web_world.cluster, running)

    wait_for(lambda: poll(visitor, path, seen).status == 200, "the change")
    fragment = poll(visitor, path, seen)
    assert "Succeeded" in fragment.body.decode()
    assert "<html" not in fragment.body.decode()
    assert poll(visitor, path, digest_of(fragment)).status == 204


def test_a_page_of_a_run_polls_until_it_has_ended(
    web_world: World, visitor: Visitor, running: str
) -> None:
    path = f"/web/runs/{running}"
    open_page = visitor.get(path)
    assert attributes_of(open_page, "div", "id", "live")["data-seconds"] == "2"

    finish_run(web_world.cluster, running)

    ended = poll(visitor, path, digest_of(open_page))
    live = attributes_of(ended, "div", "id", "live")
    assert live["data-seconds"] == "0"
    assert "hx-get" not in live


def test_a_page_of_a_run_shows_its_memory_while_it_runs(
    web_world: World, visitor: Visitor, running: str
) -> None:
    path = f"/web/runs/{running}"
    before = visitor.get(path)
    assert "Memory" not in Tags(before).text

    body = web_world.cluster.job(running)
    live = {"memory": "38Mi", "peakMemory": "41Mi/256Mi"}
    web_world.cluster.write(names.PLURAL, body | {"status": body["status"] | live})

    wait_for(lambda: poll(visitor, path, digest_of(before)).status == 200, "the change")
    page = visitor.get(path)
    assert "38Mi / 256Mi" in Tags(page).text
    assert "38Mi of 256Mi" in page.body.decode()
