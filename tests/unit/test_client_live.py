"""What the code prints is told live, whole and once, whatever the log lacks."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanogrid import names
from nanogrid.client import AsyncClient, Client, NotFound
from nanogrid.client.ending import Shown, rest_of, rest_of_both
from nanogrid.client.fulltext import NotKept
from nanogrid.client.rest import rest_of_mixed, rest_of_tail
from nanogrid.client.result import Result
from nanogrid.client.run import Run
from unit.client_server import NAMESPACE, FakeApi, result_of, serving

Json = dict[str, Any]
JOB: Json = {"metadata": {"name": "n", "namespace": NAMESPACE, "uid": "u"}, "spec": {}}
LONG_SECONDS = 60


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    monkeypatch.setattr("nanogrid.client.podlog.LOOK_SECONDS", 0.2)
    monkeypatch.setattr("nanogrid.client.podlog.PAUSE_SECONDS", 0.01)
    server = FakeApi()
    server.operator = None
    with serving(server):
        yield server


@pytest.fixture
def run(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A job that was seen by nobody yet."""
    client = Client()
    monkeypatch.setattr(client, "_cluster", api.cluster())
    monkeypatch.setattr(client, "_storage", NoStorage())
    return client.submit("1", name="n")


class NoStorage:
    """An S3 without objects."""

    def chunks(self, uri: str) -> Iterator[bytes]:
        raise NotFound(404, "NoSuchKey", f"{uri} is not there.")


class Ears:
    """Hears text, and tells when enough of it has come."""

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

    def hears(self, text: str) -> None:
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


def finish(api: FakeApi, out: str = "", err: str = "", **more: Any) -> None:
    sizes = {"stdout_bytes": len(out.encode()), "stderr_bytes": len(err.encode())}
    api.finish(api.job_path("n"), **({"stdout": out, "stderr": err} | sizes | more))


def in_thread(work: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_both_streams_are_live_and_the_end_comes_from_the_result(api: FakeApi, run: Run) -> None:
    heard, notes = Ears(), Ears()
    waits = in_thread(lambda: run.wait(LONG_SECONDS, on_output=heard, on_note=notes))
    start_pod(api, run, "one\nE oops\n")
    heard.hears("oops")
    assert not run.finished
    finish(api, "one\ntwo\n", "oops\nmore\n")
    waits.join(LONG_SECONDS)
    assert heard.text == "one\noops\ntwo\nmore\n"
    assert notes.text == ""


def test_a_server_that_splits_logs_tells_each_stream_live(api: FakeApi, run: Run) -> None:
    api.splits_logs = True
    out, err = Ears(), Ears()
    waits = in_thread(lambda: run.wait(LONG_SECONDS, on_stdout=out, on_stderr=err))
    start_pod(api, run, "one\nE oops\n")
    out.hears("one")
    err.hears("oops")
    assert not run.finished
    finish(api, "one\ntwo", "oops\n")
    waits.join(LONG_SECONDS)
    assert (out.text, err.text) == ("one\ntwo", "oops\n")


@pytest.mark.parametrize("refused", [True, False])
def test_without_a_split_each_stream_comes_at_the_end(
    api: FakeApi, run: Run, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not refused:  # an old server, which would ignore the parameter
        monkeypatch.setattr("nanogrid.client.podlog.SPLIT_SINCE", 100)
    out, err = Ears(), Ears()
    start_pod(api, run, "one\nE oops\n")
    finish(api, "one\n", "oops\n")
    run.wait(LONG_SECONDS, on_stdout=out, on_stderr=err)
    assert (out.text, err.text) == ("one\n", "oops\n")
    asked = [path for _, path in api.requests if "stream=" in path]
    assert not asked or refused


def test_a_broken_connection_is_taken_up_where_it_was(api: FakeApi, run: Run) -> None:
    api.cut_logs = [2, 5, 5]
    heard = Ears()
    waits = in_thread(lambda: run.wait(LONG_SECONDS, on_output=heard))
    start_pod(api, run, "one\ntwo\nthree\n")
    heard.hears("three")
    finish(api, "one\ntwo\nthree\n")
    waits.join(LONG_SECONDS)
    assert heard.text == "one\ntwo\nthree\n"


def test_a_new_attempt_is_said_and_only_it_is_compared_with_the_result(
    api: FakeApi, run: Run
) -> None:
    heard, notes = Ears(), Ears()
    waits = in_thread(lambda: run.wait(LONG_SECONDS, on_output=heard, on_note=notes))
    start_pod(api, run, "first\n", state="terminated")
    heard.hears("first")
    start_pod(api, run, "second\n", attempt=1)
    heard.hears("second")
    finish(api, "second\nend\n", attempt=1)
    waits.join(LONG_SECONDS)
    assert heard.text == "first\nsecond\nend\n"
    assert notes.text == "attempt 1 begins"


def test_a_log_that_may_not_be_read_is_said_and_costs_no_text(
    api: FakeApi, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nanogrid.client.errors import Forbidden

    def forbidden(*_: Any, **__: Any) -> Iterator[bytes]:
        raise Forbidden(403, "Forbidden", "you may not read logs.")

    monkeypatch.setattr(run._cluster, "pod_log", forbidden)
    heard, notes = Ears(), Ears()
    waits = in_thread(lambda: run.wait(LONG_SECONDS, on_output=heard, on_note=notes))
    start_pod(api, run, "")
    notes.hears("you may not read logs")
    finish(api, "all\n")
    waits.join(LONG_SECONDS)
    assert heard.text == "all\n"


def test_what_a_listener_raises_reaches_the_caller(api: FakeApi, run: Run) -> None:
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


async def test_the_asynchronous_run_tells_in_the_loop(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with AsyncClient() as client:
        monkeypatch.setattr(client.blocking, "_cluster", api.cluster())
        run = await client.submit("1", name="n")
        start_pod(api, run.blocking, "one\n")
        finish(api, "one\ntwo\n")
        heard: list[str] = []
        thread = threading.get_ident()
        told: list[int] = []

        def hear(text: str) -> None:
            heard.append(text)
            told.append(threading.get_ident())

        await run.wait(LONG_SECONDS, on_output=hear)
        assert "".join(heard) == "one\ntwo\n"
        assert set(told) == {thread}


def test_logs_of_a_job_that_ends_right_after_are_whole(api: FakeApi, run: Run) -> None:
    lines: list[str] = []
    reader = in_thread(lambda: lines.extend(run.logs()))
    path = start_pod(api, run, "one\ntwo\n")
    finish(api, "one\ntwo\nthree\n")
    reader.join(LONG_SECONDS)
    assert lines == ["one", "two", "three"]
    del api.logs["p-0"]  # as the kubelet refuses just after the end
    assert list(run.logs()) == ["one", "two", "three"]
    api.remove(path)
    assert list(run.logs()) == ["one", "two", "three"]


def test_logs_so_far_do_not_wait(api: FakeApi, run: Run) -> None:
    assert list(run.logs(follow=False)) == []
    start_pod(api, run, "one\nhalf")
    assert list(run.logs(follow=False)) == ["one", "half"]
    assert "follow=false" in api.requests[-2][1] + api.requests[-1][1]


def shortened(total: int, tail: str, full: bytes | None, url: str | None = "s3://b/k") -> Result:
    class Kept:
        def chunks(self, uri: str) -> Iterator[bytes]:
            if full is None:
                raise NotFound(404, "NoSuchKey", f"{uri} is not there.")
            yield full

    raw = result_of(JOB, stdout=tail, stdout_bytes=total, stdout_truncated=True, stdout_url=url)
    return Result(raw, Kept)  # type: ignore[arg-type, return-value]


def shown(text: str) -> Shown:
    found = Shown()
    found.take(text.encode())
    return found


@pytest.mark.parametrize(
    ("live", "tail", "full", "expected", "noted"),
    [
        ("0123456789", "789", None, "", ""),
        ("01234567", "789", None, "89", "not whole here"),
        ("0123", "789", b"0123456789", "456789", ""),
        ("0123", "789", b"01234", "4789", "2 bytes of stdout are left out"),
        ("0123", "789", None, "789", "3 bytes of stdout are left out"),
        ("", "789", None, "789", "7 bytes of stdout are left out"),
        ("other", "789", b"0123456789", "789", "2 bytes of stdout are left out"),
    ],
)
def test_a_shortened_stream_is_completed_as_far_as_anybody_has_it(
    live: str, tail: str, full: bytes | None, expected: str, noted: str
) -> None:
    notes: list[str] = []
    result = shortened(10, tail, full)
    assert rest_of(result, "stdout", shown(live), notes.append) == expected
    assert noted in " ".join(notes)
    assert bool(notes) == bool(noted)


def test_full_stdout_is_in_one_of_two_places_or_was_not_kept() -> None:
    assert shortened(10, "789", b"0123456789").full_stdout() == "0123456789"
    stored = result_of(JOB, stdout="0123456789", stdout_bytes=10)
    whole = shortened(10, "789", b"", url=None)
    assert whole.full_stderr() == ""

    def result_json(change: Json) -> bytes:
        import json

        return json.dumps(stored | change).encode()

    assert shortened(10, "789", result_json({}), url=None).full_stdout() == "0123456789"
    for wrong in ({"stdoutTruncated": True}, {"job": {"uid": "another"}}):
        with pytest.raises(NotKept, match="not kept in S3"):
            shortened(10, "789", result_json(wrong), url=None).full_stdout()
    with pytest.raises(NotKept, match="not in S3"):
        shortened(10, "789", None, url=None).full_stdout()


def test_a_log_of_other_text_is_said_and_the_result_told() -> None:
    notes: list[str] = []
    result = Result(result_of(JOB, stdout="abc", stdout_bytes=3), lambda: None)  # type: ignore[arg-type, return-value]
    assert rest_of(result, "stdout", shown("xy"), notes.append) == "abc"
    assert list(rest_of_both(result, shown("x"), notes.append)) == [
        ("stdout", "abc"),
        ("stderr", ""),
    ]
    assert len(notes) == 2


texts = st.lists(st.sampled_from(["a\n", "b\n", "\n", "ab\n", "é\n"]), max_size=8)


@given(texts, texts, st.randoms(use_true_random=False), st.sampled_from(["", "z"]))
def test_any_interleaving_is_taken_apart_again(
    out: list[str], err: list[str], chance: Any, end: str
) -> None:
    """What is left of both is what was not shown, whichever lines were alike."""
    ways = [0] * len(out) + [1] * len(err)
    chance.shuffle(ways)
    ways = ways[: chance.randint(0, len(ways))]
    left = [iter(out), iter(err)]
    mixed = "".join(next(left[way]) for way in ways)
    whole_out, whole_err = "".join(out) + end, "".join(err)
    found = rest_of_mixed(mixed, whole_out, whole_err)
    assert found is not None
    rest_out, rest_err = found
    assert whole_out.endswith(rest_out)
    assert whole_err.endswith(rest_err)
    assert len(mixed) + len(rest_out) + len(rest_err) == len(whole_out) + len(whole_err)


def test_an_unterminated_end_may_stand_before_a_line_of_the_other_stream() -> None:
    assert rest_of_mixed("a\nxTrace\n", "a\nx", "Trace\nmore\n") == ("", "more\n")
    assert rest_of_mixed("xy\n", "y\nz", "x") == ("z", "")
    assert rest_of_mixed("nobody's\n", "a\n", "b\n") is None


@given(st.binary(max_size=40), st.integers(0, 40), st.integers(0, 40))
def test_a_tail_continues_what_was_shown(data: bytes, passed: int, kept: int) -> None:
    text = data.hex()
    tail = text[max(0, len(text) - kept) :]
    missing, rest = rest_of_tail(min(passed, len(text)), tail, len(text))
    assert missing + len(rest) == len(text) - min(passed, len(text))
    assert text.endswith(rest)
