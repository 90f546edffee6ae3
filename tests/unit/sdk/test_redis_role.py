"""When an IAM role takes the place of a password of Redis."""

import pytest

from nanogrid.redis_role import Iam, iam_of
from nanogrid.redis_url import RedisServer, server_problem


def iam(url: str, username: str = "", password: str = "", cache: str = "results") -> Iam | None:
    return iam_of(
        url, username, password,
        service="memorydb", cache=cache, region="eu-west-1", account="nanogrid",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("url", "username", "user"),
    [("rediss://me@r/0", "", "me"), ("rediss://me@r/0", "you", "you"), ("rediss://r", "a", "a")],
)
def test_a_role_is_used_as_the_user_of_the_settings(url: str, username: str, user: str) -> None:
    assert iam(url, username) == Iam(
        service="memorydb", cache="results", region="eu-west-1", user=user, account="nanogrid"
    )


def test_without_the_name_of_a_cache_there_is_no_role() -> None:
    assert iam("redis://me:secret@r/0", cache="") is None


@pytest.mark.parametrize(
    ("url", "password", "message"),
    [
        ("redis://me@r/0", "", "needs TLS.*rediss://"),
        ("rediss://me:secret@r/0", "", "password .* exclude each other"),
        ("rediss://me@r/0", "secret", "password .* exclude each other.*NANOGRID_REDIS_PASSWORD"),
        ("rediss://r/0", "", "needs a user: rediss://USER@HOST"),
    ],
)
def test_what_aws_would_refuse_is_an_error(url: str, password: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        iam(url, password=password)
    assert "secret" not in str(caught.value)


def test_sentinels_take_no_role() -> None:
    role = iam("rediss://me@a,b/0")
    server = RedisServer(url="rediss://me@a,b/0", mode="Sentinel", sentinel_master="m", iam=role)
    assert "AWS has no Sentinels" in server_problem(server)
    cluster = RedisServer(url="rediss://me@a,b/0", mode="Cluster", iam=role)
    assert server_problem(cluster) == ""
