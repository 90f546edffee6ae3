"""The rest of the output after a log: from S3, from the result, and without repetition."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanogrid.client import NotFound, NotKept, exact_text
from nanogrid.client.callbacks import OutputCallbacks
from nanogrid.client.jobs.output_merge import remaining_of_mixed, remaining_of_tail
from nanogrid.client.jobs.remaining_output import LogText, remaining, remaining_of_both
from nanogrid.client.jobs.result import Result
from nanogrid.types import Json
from support.api_store import NAMESPACE, result_of
from support.memory_storage import MemoryStorage

JOB: Json = {"metadata": {"name": "n", "namespace": NAMESPACE, "uid": "u"}, "spec": {}}


BYTES = b"a\xffb\xea\xb0"  # the last character is incomplete
SHOWN = BYTES.decode(errors="replace")


def binary(full: bytes | None, **changes: Any) -> Result:
    """The result of code that wrote ``BYTES``; S3 has ``full``."""

    class Kept(MemoryStorage):
        def chunks(self, uri: str) -> Iterator[bytes]:
            assert full is not None
            yield full

    url = None if full is None else "s3://b/k"
    given = {"stdout": SHOWN, "stdout_bytes": len(BYTES), "stdout_encoding": "binary"}
    return Result(result_of(JOB, **given, stdout_url=url, **changes), Kept)


def shortened(total: int, tail: str, full: bytes | None, url: str | None = "s3://b/k") -> Result:
    class Kept(MemoryStorage):
        def chunks(self, uri: str) -> Iterator[bytes]:
            if full is None:
                raise NotFound(404, "NoSuchKey", f"{uri} does not exist.")
            yield full

    raw = result_of(JOB, stdout=tail, stdout_bytes=total, stdout_truncated=True, stdout_url=url)
    return Result(raw, Kept)


def log_of(text: str | bytes) -> LogText:
    found = LogText()
    found.add(text.encode() if isinstance(text, str) else text)
    return found


@pytest.mark.parametrize(
    ("live", "tail", "full", "expected", "noted"),
    [
        ("0123456789", "789", None, "", ""),
        ("01234567", "789", None, "89", "is incomplete"),
        ("0123", "789", b"0123456789", "456789", ""),
        ("0123", "789", b"01234", "4789", "2 bytes of stdout are left out"),
        ("0123", "789", None, "789", "3 bytes of stdout are left out"),
        ("", "789", None, "789", "7 bytes of stdout are left out"),
        ("other", "789", b"0123456789", "789", "2 bytes of stdout are left out"),
    ],
)
def test_a_shortened_stream_is_completed_from_log_s3_and_result(
    live: str, tail: str, full: bytes | None, expected: str, noted: str
) -> None:
    notes: list[str] = []
    result = shortened(10, tail, full)
    assert remaining(result, "stdout", log_of(live), notes.append) == expected
    assert noted in " ".join(notes)
    assert bool(notes) == bool(noted)


def test_full_stdout_comes_from_one_of_two_places_or_was_not_kept() -> None:
    assert shortened(10, "789", b"0123456789").full_stdout() == "0123456789"
    stored = result_of(JOB, stdout="0123456789", stdout_bytes=10)
    whole = shortened(10, "789", b"", url=None)
    assert whole.full_stderr() == ""

    def result_json(change: Json) -> bytes:
        return json.dumps(stored | change).encode()

    assert shortened(10, "789", result_json({}), url=None).full_stdout() == "0123456789"
    for wrong in ({"stdoutTruncated": True}, {"job": {"uid": "another"}}):
        with pytest.raises(NotKept, match="not kept in S3"):
            shortened(10, "789", result_json(wrong), url=None).full_stdout()
    with pytest.raises(NotKept, match="not in S3"):
        shortened(10, "789", None, url=None).full_stdout()


def test_a_note_names_a_log_that_differs_from_the_result() -> None:
    notes: list[str] = []
    result = Result(result_of(JOB, stdout="abc", stdout_bytes=3), lambda: None)  # type: ignore[arg-type, return-value]
    assert remaining(result, "stdout", log_of("xy"), notes.append) == "abc"
    assert list(remaining_of_both(result, log_of("x"), notes.append)) == [
        ("stdout", "abc"),
        ("stderr", ""),
    ]
    assert len(notes) == 2


texts = st.lists(st.sampled_from(["a\n", "b\n", "\n", "ab\n", "é\n"]), max_size=8)


@given(texts, texts, st.randoms(use_true_random=False), st.sampled_from(["", "z"]))
def test_the_rest_after_any_interleaving_is_found(
    out: list[str], err: list[str], chance: Any, end: str
) -> None:
    """The rests are the lines that were not shown, even if lines of both streams are equal."""
    order = [0] * len(out) + [1] * len(err)
    chance.shuffle(order)
    order = order[: chance.randint(0, len(order))]
    lines = [iter(out), iter(err)]
    mixed = "".join(next(lines[stream]) for stream in order)
    whole_out, whole_err = "".join(out) + end, "".join(err)
    found = remaining_of_mixed(mixed, whole_out, whole_err)
    assert found is not None
    rest_out, rest_err = found
    assert whole_out.endswith(rest_out)
    assert whole_err.endswith(rest_err)
    assert len(mixed) + len(rest_out) + len(rest_err) == len(whole_out) + len(whole_err)


def test_the_open_end_of_a_stream_may_precede_a_line_of_the_other() -> None:
    assert remaining_of_mixed("a\nxTrace\n", "a\nx", "Trace\nmore\n") == ("", "more\n")
    assert remaining_of_mixed("xy\n", "y\nz", "x") == ("z", "")
    assert remaining_of_mixed("other\n", "a\n", "b\n") is None


@given(st.binary(max_size=40), st.integers(0, 40), st.integers(0, 40))
def test_a_tail_continues_the_shown_text(data: bytes, passed: int, kept: int) -> None:
    text = data.hex()
    tail = text[max(0, len(text) - kept) :]
    missing, rest = remaining_of_tail(min(passed, len(text)), tail, len(text))
    assert missing + len(rest) == len(text) - min(passed, len(text))
    assert text.endswith(rest)


@pytest.mark.parametrize(
    ("live", "full", "shown", "noted"),
    [
        (b"", BYTES, BYTES, ""),
        (b"a", BYTES, BYTES, ""),
        (b"a\xff", BYTES, BYTES, ""),
        (BYTES[:4], BYTES, BYTES, ""),
        (BYTES, BYTES, BYTES, ""),
        (BYTES, None, BYTES, ""),  # the log has all
        (b"a\xff", None, b"a\xffb\xef\xbf\xbd", "stdout is incomplete: the exact bytes"),
        (b"", None, SHOWN.encode(), "the exact bytes of stdout"),
        (b"a", BYTES[:3], BYTES[:3], "the last 2 bytes of stdout are not in S3"),
        (b"oth", BYTES, b"oth" + SHOWN.encode(), "differs from the result"),
    ],
)
def test_a_stream_that_is_not_text_is_exact(
    live: bytes, full: bytes | None, shown: bytes, noted: str
) -> None:
    for of_both in (False, True):
        notes: list[str] = []
        log = log_of(live)
        before = log.text
        if of_both:
            rest = dict(remaining_of_both(binary(full), log, notes.append)).get("stdout", "")
        else:
            rest = remaining(binary(full), "stdout", log, notes.append)
        assert exact_text.encode(before + rest) == (
            live + BYTES if of_both and live == b"oth" else shown
        )
        assert noted in " ".join(notes)
        assert bool(notes) == bool(noted)


def test_a_log_in_which_bytes_are_replaced_is_compared_with_the_text() -> None:
    notes: list[str] = []
    log = LogText(exact=False)
    log.add(SHOWN[:2].encode())
    assert dict(remaining_of_both(binary(None), log, notes.append))["stdout"] == SHOWN[2:]
    assert notes == []


def test_callbacks_get_text_and_the_command_line_gets_bytes() -> None:
    for exact in (True, False):
        texts: list[str] = []
        callbacks = OutputCallbacks(stdout=texts.append, exact=exact)
        callbacks.write("stdout", exact_text.decode(BYTES))
        if exact:
            assert exact_text.encode(texts[0]) == BYTES
        else:
            assert texts == [SHOWN]
    assert exact_text.encode("가\ud800") == "가?".encode()


@given(st.lists(st.binary(max_size=5), max_size=5))
def test_exact_text_keeps_all_bytes(pieces: list[bytes]) -> None:
    log = LogText()
    shown = "".join(log.add(piece) for piece in pieces) + log.add(b"", final=True)
    assert exact_text.encode(shown) == b"".join(pieces)
    exact_text.readable(shown).encode()


def test_the_bytes_of_a_stream() -> None:
    assert binary(BYTES).full_stdout_bytes() == BYTES
    assert binary(BYTES).full_stdout() == SHOWN
    assert binary(BYTES).full_stderr_bytes() == b""
    with pytest.raises(NotKept, match="exact bytes of stdout"):
        binary(None).full_stdout_bytes()
    text = Result(result_of(JOB, stdout="가", stdout_bytes=3), lambda: None)  # type: ignore[arg-type, return-value]
    assert text.full_stdout_bytes() == "가".encode()
