"""Run, wait, follow, stop and repeat jobs, with an API server that fails on request."""

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import pytest

from nanogrid import names
from nanogrid.client import (
    AsyncClient,
    Client,
    CodeFailed,
    Conflict,
    InvalidRequest,
    JobDeleted,
    JobFailed,
    OutOfMemory,
    Result,
    WaitTimeout,
)
from nanogrid.client.jobs.manifest import ANNOTATION_SPEC_HASH, spec_hash
from nanogrid.client.jobs.prepare import JobPreparer
from nanogrid.client.jobs.result import BY_REASON, job_failed
from nanogrid.client.storage import Corrupt
from nanogrid.reasons import Reason
from nanogrid.types import Json
from support.api_store import NAMESPACE, result_of
from support.client_server import FakeApi, failure
from support.memory_storage import MemoryStorage


def paths(api: FakeApi, method: str) -> list[str]:
    return [path for verb, path in api.requests if verb == method]


def test_run_returns_the_result_of_the_code(client: Client, api: FakeApi) -> None:
    seen: list[str] = []
    result = client.run("print(6 * 7)", on_change=lambda run: seen.append(run.phase))
    assert (result.succeeded, result.stdout, result.exit_code) == (True, "42\n", 0)
    assert result.raise_for_status() is result
    assert seen[-1] == "Succeeded"
    assert len(paths(api, "POST")) == 1


def test_a_result_says_what_the_patterns_of_its_outputs_left_out(
    client: Client, storage: MemoryStorage
) -> None:
    result = client.run("print(6 * 7)")
    assert result.outputs_note == ""
    note = "2 files match no include pattern: a, b."
    assert Result(result.raw | {"outputsNote": note}, lambda: storage).outputs_note == note


def test_failed_code_gives_a_result_and_with_check_an_error(client: Client) -> None:
    result = client.run("raise SystemExit(3)")
    assert (result.status, result.exit_code) == ("FAILED", 3)
    with pytest.raises(CodeFailed) as caught:
        client.run("import sys; sys.exit('broken')", check=True)
    assert caught.value.reason == "NonZeroExit"
    assert "broken" in caught.value.result.stderr
    assert caught.value.hint == result.hint == "Read stderr of the result."


def test_a_lost_answer_to_the_create_creates_no_second_job(client: Client, api: FakeApi) -> None:
    api.lose_creates = 1
    assert client.run("print(1)").stdout == "1\n"
    assert len(paths(api, "POST")) == 2
    assert len(api.objects) == 1


def test_a_repeated_request_finds_its_job_and_another_spec_is_a_conflict(
    client: Client, api: FakeApi
) -> None:
    first = client.submit("print(1)", request_id="r-1")
    assert client.submit("print(1)", request_id="r-1").uid == first.uid
    with pytest.raises(Conflict, match="another spec"):
        client.submit("print(2)", request_id="r-1")
    assert len(api.objects) == 1


def test_a_name_that_another_client_uses_is_a_conflict(client: Client, api: FakeApi) -> None:
    metadata = {"name": "n", "namespace": NAMESPACE}
    api.put(api.job_path("n"), {"metadata": metadata, "spec": {"code": {"inline": "1"}}})
    with pytest.raises(Conflict):
        client.submit("1", name="n")


def test_wait_survives_a_broken_watch_and_lost_history(client: Client, api: FakeApi) -> None:
    api.operator = None
    run = client.submit("print(1)", name="w")
    path = api.job_path("w")
    api.cut_watch_after = 0
    api.put(path, api.objects[path] | {"status": {"phase": "Running"}})
    api.forget()
    api.finish(path, stdout="late")
    assert run.wait(10).stdout == "late"


def test_wait_ends_at_its_timeout_and_the_job_continues(client: Client, api: FakeApi) -> None:
    api.operator = None
    run = client.submit("1", name="w")
    with pytest.raises(WaitTimeout, match=r"not ended within 0\.2 s"):
        run.wait(0.2)
    api.finish(api.job_path("w"))
    assert run.wait(10).succeeded


def test_wait_raises_for_a_deleted_job(client: Client, api: FakeApi) -> None:
    api.operator = None
    run = client.submit("1", name="w")
    api.remove(api.job_path("w"))
    with pytest.raises(JobDeleted):
        run.wait(10)
    assert all("watch=true" in path for path in paths(api, "GET"))  # from the event
    client.submit("2", name="w")  # another job with the same name
    with pytest.raises(JobDeleted):
        run.refresh()
    with pytest.raises(JobDeleted):
        run.wait(0.2)


def test_cancel_retry_and_delete(client: Client, api: FakeApi) -> None:
    api.operator = None
    labels = {"team": "a", "app.kubernetes.io/instance": "shop"}
    run = client.submit("1", request_id="r", name="first", labels=labels, keep=True)
    assert run.cancel().job["spec"]["cancel"] is True
    again = run.retry()
    assert again.name.startswith("first-")
    assert again.job["spec"] == {"code": {"inline": "1"}}
    assert again.job["metadata"]["labels"] == {"team": "a"}
    annotations = again.job["metadata"]["annotations"]
    assert annotations == {
        names.ANNOTATION_KEEP: "true",
        ANNOTATION_SPEC_HASH: spec_hash(again.job["spec"]),
    }
    run.delete()
    run.delete()
    assert [one.name for one in client.list()] == [again.name]


def test_a_job_that_ended_before_its_code_ran_has_a_result(client: Client, api: FakeApi) -> None:
    api.operator = None
    run = client.submit("1", name="n")
    status = {"phase": "Failed", "reason": "InvalidSpec", "message": "Bad spec."}
    api.put(api.job_path("n"), api.objects[api.job_path("n")] | {"status": status})
    with pytest.raises(JobFailed, match="InvalidSpec: Bad spec"):
        run.wait(10).raise_for_status()


def test_list_selects_jobs_by_phase(client: Client) -> None:
    client.run("1", name="good")
    client.run("raise SystemExit(1)", name="bad")
    assert [run.name for run in client.list(phase="Failed")] == ["bad"]
    assert client.get("good").finished
    assert {run.name for run in client.list(all_namespaces=True)} == {"good", "bad"}


def test_a_folder_is_uploaded_as_a_zip_with_its_checksum(
    client: Client, idle_api: FakeApi, storage: MemoryStorage, tmp_path: Path
) -> None:
    (tmp_path / "main.py").write_text("print(1)")
    (tmp_path / "x.csv").write_text("a,b")
    inputs = {"data": tmp_path / "x.csv", "more": [tmp_path, "s3://other/k"]}
    spec = client.submit(directory=tmp_path, inputs=inputs).job["spec"]
    code = spec["code"]["s3"]
    content = storage.objects[f"s3://bkt/{code['key']}"]
    assert code["sha256"] == hashlib.sha256(content).hexdigest()
    assert spec["inputs"][0]["s3"]["sha256"] == hashlib.sha256(b"a,b").hexdigest()
    # It is the ZIP of upload(), and it becomes a folder again.
    folder = spec["inputs"][1]
    assert (folder["s3"]["key"], folder["unpack"]) == (code["key"], True)
    uploaded = client.submit("1", inputs={"more": client.upload(tmp_path)}).job["spec"]["inputs"]
    assert uploaded == [folder | {"name": "input-1"}]
    assert spec["inputs"][2]["s3"] == {"bucket": "other", "key": "k"}


def test_a_large_folder_of_inputs_is_uploaded_file_by_file(
    storage: MemoryStorage, tmp_path: Path
) -> None:
    (tmp_path / "x.csv").write_text("a,b")
    preparer = JobPreparer(lambda: storage, max_zip_bytes=2)
    (prefix,) = preparer.keywords("1", {"inputs": {"data": tmp_path}})["inputs"]["data"]
    assert prefix.startswith("s3://bkt/uploads/folder-")
    assert storage.objects[f"{prefix}x.csv"] == b"a,b"


@pytest.mark.parametrize(
    ("keywords", "root"), [({}, "team-a/"), ({"namespace": "team-b"}, "team-b/")]
)
def test_uploads_are_below_the_root_of_the_jobs_namespace(
    tmp_path: Path, keywords: Json, root: str
) -> None:
    (tmp_path / "main.py").write_text("1")
    storage = MemoryStorage("team-a")
    given = {"directory": tmp_path, "inputs": {"data": tmp_path / "main.py"}, **keywords}

    made = JobPreparer(lambda: storage).keywords(None, given)

    assert made["archive"].uri.startswith(f"s3://bkt/{root}code/")
    assert [one.uri for one in made["inputs"]["data"]] == [f"s3://bkt/{root}uploads/main.py"]


def test_a_large_input_is_below_the_root() -> None:
    storage = MemoryStorage("team-a")

    JobPreparer(lambda: storage).keywords(None, {"function": "f", "input": "x" * 100_000})

    (uri,) = storage.objects
    assert uri.startswith("s3://bkt/team-a/uploads/")


def test_a_script_runs_inline_and_a_large_one_as_an_archive(client: Client, tmp_path: Path) -> None:
    script = tmp_path / "hello.py"
    script.write_text("print('from a file')")
    assert client.run(file=script).stdout == "from a file\n"
    script.write_text("#" * 70_000)
    assert "s3" in client.submit(file=script).job["spec"]["code"]


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"code": "1", "directory": "x"}, "given twice"),
        ({"code": "1", "memroy": "1Mi"}, "unknown keywords: memroy"),
        ({"file": "/nowhere.py"}, "cannot be read"),
        ({"code": "1", "function": "f"}, "given twice"),
        ({"code": "1", "input": 1}, "input needs a function"),
        ({"code": "1", "version": 1}, "version needs a function"),
        ({"function": "f", "stdin": "x"}, "both given"),
        ({"function": "f", "input": {1, 2}}, "not JSON"),
        ({"function": "f", "input": float("nan")}, "not JSON"),
    ],
)
def test_contradictions_are_refused_before_the_create(
    client: Client, api: FakeApi, keywords: Json, message: str
) -> None:
    with pytest.raises(InvalidRequest, match=message):
        client.run(**keywords)
    assert not api.objects


def result_with(storage: MemoryStorage, content: bytes, name: str = "a.txt", **more: Any) -> Result:
    meta = {"name": "n", "namespace": NAMESPACE, "uid": "u"}
    output = {
        "path": name,
        "url": "s3://bkt/o",
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "contentType": "text/plain",
    }
    raw = result_of({"metadata": meta, "spec": {}}, outputs=[output], **more)
    return Result(raw, lambda: storage)


def test_outputs_are_verified_and_appear_when_complete(
    storage: MemoryStorage, tmp_path: Path
) -> None:
    storage.objects["s3://bkt/o"] = b"right"
    output = result_with(storage, b"right").outputs["a.txt"]
    assert output.read() == b"right"
    assert output.download(tmp_path).read_bytes() == b"right"
    assert output.download(tmp_path / "new" / "name").read_bytes() == b"right"

    storage.objects["s3://bkt/o"] = b"wrong"
    with pytest.raises(Corrupt):
        output.download(tmp_path / "bad")
    assert not list(tmp_path.glob("bad*"))


def test_the_name_of_an_output_cannot_leave_the_folder(
    storage: MemoryStorage, tmp_path: Path
) -> None:
    storage.objects["s3://bkt/o"] = b"x"
    (tmp_path / "in").mkdir()
    for name, fits in (("../evil", False), ("sub/good", True)):
        output = result_with(storage, b"x", name).outputs[name]
        if fits:
            assert output.download(tmp_path / "in").exists()
        else:
            with pytest.raises(Corrupt, match="outside"):
                output.download(tmp_path / "in")
    assert not (tmp_path / "evil").exists()


def test_a_notebook_shows_text_and_escapes_markup(storage: MemoryStorage) -> None:
    result = result_with(storage, b"x", stdout="<script>alert(1)</script>", stderr="")
    shown = result._repr_html_()
    assert "&lt;script&gt;" in shown
    assert "<script>" not in shown
    assert "a.txt" in shown


def test_every_reason_that_can_end_a_job_has_its_error() -> None:
    """A reason without an error class never ends a job."""
    without = {reason.value for reason in Reason} - set(BY_REASON)
    assert not without & {"OOMKilled", "InputNotFound", "Cancelled", "ImagePullFailed", "Evicted"}
    meta = {"name": "n", "namespace": NAMESPACE, "uid": "u"}
    for reason, kind in BY_REASON.items():
        raw = result_of({"metadata": meta, "spec": {}}, status="FAILED", reason=reason)
        error = job_failed(Result(raw, MemoryStorage))
        assert type(error) is kind
        assert error.hint
        assert error.result.reason == reason
    raw = result_of({"metadata": meta, "spec": {}}, status="FAILED", reason="OfANewerRelease")
    assert type(job_failed(Result(raw, MemoryStorage))) is JobFailed
    assert BY_REASON["OOMKilled"] is OutOfMemory


async def test_the_asynchronous_client_runs_many_jobs_at_once(api: FakeApi) -> None:
    async with AsyncClient(threads=8, cluster=api.cluster()) as client:
        seen: list[str] = []
        results = await asyncio.gather(
            *(client.run(f"print({n})", on_change=lambda r: seen.append(r.name)) for n in range(3))
        )
        assert [one.stdout for one in results] == ["0\n", "1\n", "2\n"]
        assert seen
        with pytest.raises(CodeFailed):
            await client.run("raise SystemExit(1)", check=True)
        api.operator = None
        run = await client.submit("1", name="slow")
        with pytest.raises(WaitTimeout):
            await run.wait(0.2)
        assert (await run.cancel()).blocking.job["spec"]["cancel"]
        assert len(await client.list()) == 5


def test_a_create_is_retried_when_the_server_fails(client: Client, api: FakeApi) -> None:
    for _ in range(2):
        api.refusals.put(failure(500, "InternalError", "etcd leader changed"))
    assert client.run("print(1)").succeeded
