"""Paths, queries, errors and the retry rule of the Kubernetes API."""

import pytest

from nanogrid.kube.conventions import (
    CORE,
    JOBS,
    KubeError,
    Retry,
    collection,
    refusal,
    selectors,
    watch_error,
    watch_query,
)

RETRY = Retry(codes=frozenset({429, 503}), tries=4, first=0.4, patience=5.0, most=1.4)


@pytest.mark.parametrize(
    ("path", "want"),
    [
        (collection(CORE, "pods", "team-a"), "/api/v1/namespaces/team-a/pods"),
        (collection(CORE, "pods"), "/api/v1/pods"),
        (
            collection(JOBS, "executionjobs", "team-a"),
            "/apis/nanogrid.io/v1alpha1/namespaces/team-a/executionjobs",
        ),
    ],
)
def test_collections_have_the_paths_of_kubernetes(path: str, want: str) -> None:
    assert path == want


def test_an_empty_selector_is_left_out() -> None:
    assert selectors("", "") == {}
    assert selectors("a=b", "c=d") == {"labelSelector": "a=b", "fieldSelector": "c=d"}


@pytest.mark.parametrize(("seconds", "sent"), [(0, "1"), (1, "1"), (300, "300")])
def test_a_watch_lasts_a_second_at_least(seconds: int, sent: str) -> None:
    assert watch_query("7", seconds, "", "") == {
        "watch": "true",
        "allowWatchBookmarks": "true",
        "resourceVersion": "7",
        "timeoutSeconds": sent,
    }


@pytest.mark.parametrize(
    ("body", "reason", "message"),
    [
        (b'{"reason": "Invalid", "message": "spec.code"}', "Invalid", "spec.code"),
        (b"{}", "", ""),
        (b"<html>Bad Gateway</html>", "", "<html>Bad Gateway</html>"),
        (b'"busy"', "", '"busy"'),
        (b"null", "", "null"),
        (b"", "", ""),
        (b"x" * 600, "", "x" * 500),
        (b"\xff", "", "\ufffd"),
    ],
    ids=["status", "empty-status", "html", "string", "null", "nothing", "long", "not-utf-8"],
)
def test_a_refusal_has_reason_and_message_or_quotes_the_answer(
    body: bytes, reason: str, message: str
) -> None:
    error = refusal(422, body, {})

    assert (error.code, error.reason, error.message) == (422, reason, message)


@pytest.mark.parametrize(
    ("header", "seconds"), [("4", 4.0), ("", 0.0), ("soon", 0.0), ("-1", 0.0), ("1.5", 0.0)]
)
def test_retry_after_has_whole_seconds(header: str, seconds: float) -> None:
    assert refusal(429, b"{}", {"Retry-After": header}).retry_after == seconds


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (KubeError(404, "NotFound", "no pod"), "404 NotFound: no pod"),
        (KubeError(502, "", "<html>"), "502: <html>"),
        (KubeError(0, "TimeoutError", ""), "0 TimeoutError: "),
    ],
)
def test_an_error_says_code_reason_and_message(error: KubeError, text: str) -> None:
    assert str(error) == text


def test_an_error_event_has_a_status() -> None:
    error = watch_error({"code": 410, "reason": "Expired", "message": "too old"})

    assert (error.code, error.reason, error.message) == (410, "Expired", "too old")
    assert watch_error({}).code == 0


@pytest.mark.parametrize(
    ("code", "retry_after", "attempt", "least"),
    [
        (429, 0.0, 0, 0.4),
        (503, 0.0, 2, 1.6),
        (429, 4.0, 0, 4.0),
        (429, 5.0, 2, 5.0),
    ],
    ids=["first", "doubled", "as-the-server-asks", "the-longest"],
)
def test_a_pause_doubles_and_is_never_shorter_than_the_server_asks(
    code: int, retry_after: float, attempt: int, least: float
) -> None:
    pause = RETRY.pause(code, retry_after, attempt)

    assert pause is not None
    assert least <= pause <= least * 1.4


@pytest.mark.parametrize(
    ("code", "retry_after", "attempt"),
    [(500, 0.0, 0), (0, 0.0, 0), (429, 5.1, 0), (429, 0.0, 3), (429, 0.0, 4)],
    ids=["another-code", "no-answer", "longer-than-the-patience", "last-try", "beyond"],
)
def test_other_errors_go_to_the_caller(code: int, retry_after: float, attempt: int) -> None:
    assert RETRY.pause(code, retry_after, attempt) is None
