"""What the web page says about errors: no words of the API."""

import re

import pytest

from nanogrid.reasons import Reason
from nanogrid_gateway.api.errors import ApiError
from nanogrid_gateway.web import hints


@pytest.mark.parametrize("reason", hints.HINTS)
def test_hints_of_the_page_do_not_name_requests(reason: Reason) -> None:
    error = ApiError(400, reason)
    shown = f"{error.text} {hints.hint_of(error)}"
    assert not re.search(
        r"\b(GET|POST|PUT|PATCH|DELETE) /|Authorization|Retry-After|kubectl", shown
    )


def test_a_complete_message_gets_no_hint() -> None:
    error = ApiError(403, Reason.FORBIDDEN, "The form is out of date. Reload the page.")
    assert hints.hint_of(error) == ""
    assert str(error) == "The form is out of date. Reload the page."


def test_the_api_keeps_its_hint() -> None:
    error = ApiError(401, Reason.UNAUTHORIZED, "No token.", hint="Send a header.")
    assert error.body()["error"]["message"] == "No token. Send a header."
    assert hints.hint_of(error) == hints.HINTS[Reason.UNAUTHORIZED]
    assert str(ApiError(404, Reason.RUN_NOT_FOUND)).endswith("GET /runs.")
