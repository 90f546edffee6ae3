"""The search for secrets in outputs finds each form of them, and nothing else."""

import base64

import pytest

from nanogrid import names
from support.canaries import Canaries

SECRET = b"s3cr3t-of-the-release"
JWT = b"eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzeXN0ZW0ifQ.c2lnbmF0dXJlLW9mLWEtdG9rZW4"


def found(content: bytes) -> list[str]:
    canaries = Canaries({"key": SECRET})
    canaries.search([("the log", b"before " + content + b" after")])
    return canaries.found


@pytest.mark.parametrize("before", ["", "a", "ab", "abc"])
def test_a_secret_is_found_as_it_is_and_in_base64_at_any_place(before: str) -> None:
    plain = before.encode() + SECRET + b"\n"

    assert found(plain) == ["key in the log"]
    assert found(base64.b64encode(plain)) == ["key in the log"]


@pytest.mark.parametrize(
    ("token", "name"),
    [
        (names.session_token(b"k" * 16, "uid").encode(), "a session's token"),
        (
            names.report_token(b"k" * 16, "0b9c2f6e-4f0c-4a55-9f5e-0a4a5a1d2c11").encode(),
            "a report's token",
        ),
        (JWT, "a JSON Web Token"),
    ],
)
def test_tokens_are_found_by_their_form(token: bytes, name: str) -> None:
    assert found(token) == [f"{name} in the log"]


@pytest.mark.parametrize(
    "content", [b"", SECRET[:-1], base64.b64encode(SECRET[4:]), b"ngs_short", b"eyJ.eyJ.x"]
)
def test_other_content_is_not_found(content: bytes) -> None:
    assert found(content) == []


def test_a_finding_does_not_repeat_the_secret() -> None:
    assert SECRET.decode() not in str(found(SECRET))
