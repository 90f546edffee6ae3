"""What the web page says about errors and states: no words of the API and of kubectl."""

import re

import pytest

from nanogrid.hints import HTTP_ONLY, Surface, hint_for, sentence_for
from nanogrid.reasons import HELP, Reason, sentence
from nanogrid_gateway.api.errors import ApiError
from nanogrid_gateway.web import run_view
from nanogrid_gateway.web.rows import MESSAGE, row_of
from support.web_world import a_job

FOREIGN = re.compile(
    r"\b(GET|POST|PUT|PATCH|DELETE) /|Authorization|Retry-After|kubectl"
    r"|\b(spec|status)\.[a-z]|--[a-z]"
)
OF_JOBS = [reason for reason in Reason if reason not in HTTP_ONLY]


@pytest.mark.parametrize("reason", Reason)
def test_an_error_has_the_words_of_the_page(reason: Reason) -> None:
    error = ApiError(400, reason)
    hint = error.hint_on(Surface.WEB)
    assert hint == hint_for(reason, Surface.WEB)
    assert not FOREIGN.search(hint)
    assert error.body(Surface.WEB)["error"]["message"] == f"{error.text} {hint}"


def test_a_complete_message_gets_no_hint() -> None:
    error = ApiError(403, Reason.FORBIDDEN, "The form is out of date. Reload the page.")
    assert error.hint_on(Surface.WEB) == ""
    assert str(error) == "The form is out of date. Reload the page."
    assert error.body(Surface.WEB) == error.body()


def test_the_api_keeps_its_hint() -> None:
    error = ApiError(401, Reason.UNAUTHORIZED, "No token.", hint="Send a header.")
    assert error.body()["error"]["message"] == "No token. Send a header."
    assert error.hint_on(Surface.WEB) == hint_for(Reason.UNAUTHORIZED, Surface.WEB)
    assert str(ApiError(404, Reason.RUN_NOT_FOUND)).endswith("GET /runs.")


@pytest.mark.parametrize("writer", [Surface.KUBECTL, Surface.HTTP])
@pytest.mark.parametrize("reason", OF_JOBS)
def test_the_page_of_a_run_has_its_own_words(reason: Reason, writer: Surface) -> None:
    message = sentence_for(reason, "the detail", writer) + " Outputs left out: a.csv."
    job = a_job("r", 9, phase="Failed", reason=reason.value, message=message)
    job["status"]["conditions"] = [
        {"type": "Executed", "status": "False", "reason": "NotExecuted", "message": message}
    ]
    view = run_view.view_of("r", job, None)
    assert view.meaning == HELP[reason].meaning
    assert view.detail == "the detail. Outputs left out: a.csv."
    assert view.hint == hint_for(reason, Surface.WEB)
    (condition,) = view.conditions
    for text in (view.hint, condition["message"].replace(view.meaning, "")):
        assert not FOREIGN.search(text), text


@pytest.mark.parametrize("reason", OF_JOBS)
def test_why_a_run_waits_has_the_words_of_the_page(reason: Reason) -> None:
    # So long that the hint is not complete within the shown characters.
    message = sentence(reason, "x" * (MESSAGE - len(HELP[reason].meaning) - 20))
    job = a_job("r", 9, phase="Pending", reason=reason.value, message=message)
    job["metadata"]["uid"] = "u"
    row = row_of(job)
    assert row.message
    assert len(row.message) <= MESSAGE
    assert not FOREIGN.search(row.message.replace(HELP[reason].meaning, ""))
