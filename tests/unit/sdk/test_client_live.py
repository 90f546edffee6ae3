"""Live output is complete and without repetition, also when the log lacks text."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from nanogrid import names
from nanogrid.client import AsyncClient, Client
from nanogrid.client.callbacks import OutputCallbacks
from nanogrid.client.jobs.live_output import LiveOutput
from nanogrid.client.jobs.run import Run
from support.api_store import NAMESPACE
from support.client_server import FakeApi

LONG_SECONDS = 60

# No operator changes the objects of these tests.
pytestmark = pytest.mark.usefixtures("idle_api")


@pytest.fixture
def run(client: Client) -> Run:
    """A job without a pod; S3 has no objects."""
    return client.submit("1", name="n")


class Listener:
    """A callback that keeps text; a test can wait for a text."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._changed = threading.Condition()

    def __call__(self, text: str) -> None:
        with self._changed:
            self.texts.append(text)
            self._changed.notify_all()

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def wait_for(self, text: str) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: text in self.text, LONG_SECONDS), self.text


def start_pod(api: FakeApi, run: Run, log: str, attempt: int = 0, state: str = "running") -> str:
    name = f"p-{attempt}"
    api.logs[name] = log
    labels = {names.LABEL_JOB_UID: run.uid, names.LABEL_ATTEMPT: str(attempt)}
    status = [{"name": names.CONTAINER_SANDBOX, "state": {state: {}}}]
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{name}"
    metadata = {"name": name, "namespace": NAMESPACE, "labels": labels}
    api.put(path, {"metadata": metadata, "status": {"containerStatuses": status}})
    return path


def start_pool_pod(api: FakeApi, name: str, job_uid: str, log: str) -> None:
    """A pod of a pool that a job has claimed, or one that waits."""
    claim = {names.LABEL_JOB_UID: job_uid, names.LABEL_ATTEMPT: "0"} if job_uid else {}
    labels = {names.LABEL_POOL: "fast", names.LABEL_JOB_UID: ""}
    metadata = {"name": name, "namespace": NAMESPACE, "labels": labels, "annotations": claim}
    status = [{"name": names.CONTAINER_SANDBOX, "state": {"running": {}}}]
    api.logs[name] = log
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{name}"
    api.put(path, {"metadata": metadata, "status": {"containerStatuses": status}})


def finish(api: FakeApi, out: str = "", err: str = "", **more: Any) -> None:
    sizes = {"stdout_bytes": len(out.encode()), "stderr_bytes": len(err.encode())}
    api.finish(api.job_path("n"), **({"stdout": out, "stderr": err} | sizes | more))


def in_thread(work: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_both_streams_are_live_and_the_result_has_the_end(api: FakeApi, run: Run) -> None:
    output, notes = Listener(), Listener()
    waits = in_thread(lambda: run.wait(LONG_SECONDS, on_output=output, on_note=notes))
    start_pod(api, run, "one\nE oops\n")
    output.wait_for("oops")
    assert not run.finished
    finish(api, "one\ntwo\n", "oops\nmore\n")
    waits.join(LONG_SECONDS)
    assert output.text == "one\noops\ntwo\nmore\n"
    assert notes.text == ""


def test_each_stream_is_live_when_the_server_can_split_logs(api: FakeApi, run: Run) -> None:
    api.splits_logs = True
    out, err = Listener(), Listener()
    waits = in_thread(lambda: run.wait(LONG_SECONDS, on_stdout=out, on_stderr=err))
    start_pod(api, run, "one\nE oops\n")
    out.wait_for("one")
    err.wait_for("oops")
    assert not run.finished
    finish(api, "one\ntwo", "oops\n")
    waits.join(LONG_SECONDS)
    assert (out.text, err.text) == ("one\ntwo", "oops\n")


def test_the_output_of_a_claimed_pod_is_live_and_that_of_others_is_not_read(
    api: FakeApi, run: Run
) -> None:
    output = Listener()
    start_pool_pod(api, "waits", "", "waits\n")
    start_pool_pod(api, "others", "another-uid", "of another job\n")
    waits = in_thread(lambda: run.wait(LONG_SECONDS, on_output=output))
    start_pool_pod(api, "claimed", run.uid, "one\n")
    output.wait_for("one")
    finish(api, "one\n")
    waits.join(LONG_SECONDS)
    assert output.text == "one\n"


@pytest.mark.parametrize("minor", ["99+", "31"])
def test_each_stream_comes_at_the_end_when_the_server_cannot_split_logs(
    api: FakeApi, run: Run, minor: str
) -> None:
    api.minor = minor  # 31 is an old server that ignores the parameter
    out, err = Listener(), Listener()
    start_pod(api, run, "one\nE oops\n")
    finish(api, "one\n", "oops\n")
    run.wait(LONG_SECONDS, on_stdout=out, on_stderr=err)
    assert (out.text, err.text) == ("one\n", "oops\n")
    asked = [path for _, path in api.requests if "stream=" in path]
    assert not asked or minor == "99+"


def test_the_log_continues_after_a_broken_connection(api: FakeApi, run: Run) -> None:
    api.cut_logs = [2, 5, 5]
    output = Listener()
    waits = in_thread(lambda: run.wait(LONG_SECONDS, on_output=output))
    start_pod(api, run, "one\ntwo\nthree\n")
    output.wait_for("three")
    finish(api, "one\ntwo\nthree\n")
    waits.join(LONG_SECONDS)
    assert output.text == "one\ntwo\nthree\n"


def test_a_note_names_a_new_attempt_and_the_result_completes_only_it(
    api: FakeApi, run: Run
) -> None:
    output, notes = Listener(), Listener()
    waits = in_thread(lambda: run.wait(LONG_SECONDS, on_output=output, on_note=notes))
    start_pod(api, run, "first\n", state="terminated")
    output.wait_for("first")
    start_pod(api, run, "second\n", attempt=1)
    output.wait_for("second")
    finish(api, "second\nend\n", attempt=1)
    waits.join(LONG_SECONDS)
    assert output.text == "first\nsecond\nend\n"
    assert notes.text == "attempt 1 begins"


def test_a_note_names_a_forbidden_log_and_no_text_is_lost(
    api: FakeApi, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nanogrid.client.errors import Forbidden

    def forbidden(*_: Any, **__: Any) -> Iterator[bytes]:
        raise Forbidden(403, "Forbidden", "reading logs is forbidden.")

    monkeypatch.setattr(run._cluster, "pod_log", forbidden)
    output, notes = Listener(), Listener()
    waits = in_thread(lambda: run.wait(LONG_SECONDS, on_output=output, on_note=notes))
    start_pod(api, run, "")
    notes.wait_for("reading logs is forbidden")
    finish(api, "all\n")
    waits.join(LONG_SECONDS)
    assert output.text == "all\n"


def test_an_error_of_a_callback_reaches_the_caller(api: FakeApi, run: Run) -> None:
    called = threading.Event()

    def broken(text: str) -> None:
        called.set()
        raise BrokenPipeError

    raised: list[BaseException] = []

    def wait() -> None:
        try:
            run.wait(LONG_SECONDS, on_output=broken)
        except BrokenPipeError as e:
            raised.append(e)

    waits = in_thread(wait)
    start_pod(api, run, "one\n")
    assert called.wait(LONG_SECONDS)
    finish(api, "one\n")
    waits.join(LONG_SECONDS)
    assert len(raised) == 1


def test_an_error_of_one_stream_reaches_the_caller_while_the_other_is_followed(
    api: FakeApi, run: Run
) -> None:
    api.splits_logs = True
    called = threading.Event()

    def broken(text: str) -> None:
        called.set()
        raise BrokenPipeError

    out = Listener()
    start_pod(api, run, "one\nE oops\n")
    callbacks = OutputCallbacks(stdout=out, stderr=broken)
    live = LiveOutput(api.cluster(), run.job, callbacks).start()
    assert called.wait(LONG_SECONDS)
    out.wait_for("one")
    finish(api, "one\n", "oops\n")
    result = run.wait(LONG_SECONDS)

    with pytest.raises(BrokenPipeError):
        live.finish(result)


async def test_callbacks_of_the_asynchronous_client_run_in_the_loop(api: FakeApi) -> None:
    async with AsyncClient(cluster=api.cluster()) as client:
        run = await client.submit("1", name="n")
        start_pod(api, run.blocking, "one\n")
        finish(api, "one\ntwo\n")
        texts: list[str] = []
        threads: set[int] = set()

        def on_output(text: str) -> None:
            texts.append(text)
            threads.add(threading.get_ident())

        await run.wait(LONG_SECONDS, on_output=on_output)
        assert "".join(texts) == "one\ntwo\n"
        assert threads == {threading.get_ident()}


def test_logs_are_complete_when_the_job_ends_at_once(api: FakeApi, run: Run) -> None:
    lines: list[str] = []
    reader = in_thread(lambda: lines.extend(run.logs()))
    path = start_pod(api, run, "one\ntwo\n")
    finish(api, "one\ntwo\nthree\n")
    reader.join(LONG_SECONDS)
    assert lines == ["one", "two", "three"]
    del api.logs["p-0"]  # the kubelet refuses it after the end
    assert list(run.logs()) == ["one", "two", "three"]
    api.remove(path)
    assert list(run.logs()) == ["one", "two", "three"]


def test_logs_without_follow_do_not_wait(api: FakeApi, run: Run) -> None:
    assert list(run.logs(follow=False)) == []
    start_pod(api, run, "one\nhalf")
    assert list(run.logs(follow=False)) == ["one", "half"]
    assert "follow=false" in api.requests[-2][1] + api.requests[-1][1]
