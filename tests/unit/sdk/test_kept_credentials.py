"""The operator keeps the credentials of a role until their end while STS does not answer."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from nanogrid.s3.errors import S3Error
from nanogrid.s3.role import AGAIN_SECONDS, KeptCredentials


class Sts:
    """Gives credentials, or fails."""

    def __init__(self) -> None:
        self.life = 300.0
        self.fails = False
        self.asked = 0
        self.now = 100.0

    def __call__(self) -> dict[str, Any]:
        self.asked += 1
        if self.fails:
            raise S3Error("no answer")
        end = datetime.now(UTC) + timedelta(seconds=self.life)
        return {"token": f"token-{self.asked}", "expiry_time": end.isoformat()}

    def clock(self) -> float:
        return self.now


@pytest.fixture
def sts() -> Sts:
    return Sts()


@pytest.fixture
def get(sts: Sts) -> Callable[[], dict[str, Any]]:
    return KeptCredentials(sts, sts.clock).get


def test_old_credentials_serve_while_they_are_valid(
    sts: Sts, get: Callable[[], dict[str, Any]]
) -> None:
    first = get()
    sts.fails = True
    assert [get(), get()] == [first, first]
    assert sts.asked == 2, "the pause after a failure"
    sts.now += AGAIN_SECONDS
    assert get() == first
    assert sts.asked == 3
    sts.fails, sts.now = False, sts.now + AGAIN_SECONDS
    assert get()["token"] == "token-4"


def test_credentials_that_have_ended_do_not_serve(
    sts: Sts, get: Callable[[], dict[str, Any]]
) -> None:
    sts.life = -1.0
    get()
    sts.fails = True
    for _ in range(2):
        with pytest.raises(S3Error, match="no answer"):
            get()
    assert sts.asked == 2


def test_the_first_failure_is_raised_until_the_pause_is_over(
    sts: Sts, get: Callable[[], dict[str, Any]]
) -> None:
    sts.fails = True
    with pytest.raises(S3Error):
        get()
    sts.fails = False
    with pytest.raises(S3Error):
        get()
    sts.now += AGAIN_SECONDS
    assert get()["token"] == "token-2"
