"""How Redis is reached: credentials from the environment, addresses, and what cannot work."""

from dataclasses import replace

import pytest

from nanogrid.redis_url import (
    CLUSTER,
    SENTINEL,
    RedisServer,
    addresses,
    server_problem,
    with_credentials,
)


@pytest.mark.parametrize(
    ("url", "username", "password", "want"),
    [
        ("redis://r:6379/0", "", "", "redis://r:6379/0"),
        ("redis://r:6379/0", "", "p@/", "redis://:p%40%2F@r:6379/0"),
        ("rediss://me:old@r/0", "", "new", "rediss://me:new@r/0"),
        ("redis://me:old@r/0", "reader", "new", "redis://reader:new@r/0"),
        ("redis://me:old@r/0", "reader", "", "redis://reader:old@r/0"),
        ("redis://[fd00::1]:6379/0", "", "new", "redis://:new@[fd00::1]:6379/0"),
        ("rediss://me:old@[fd00::1]/0", "", "new", "rediss://me:new@[fd00::1]/0"),
        (
            "redis://me:o,ld@a:1,[fd00::1]:2/0?x=y",
            "",
            "new",
            "redis://me:new@a:1,[fd00::1]:2/0?x=y",
        ),
    ],
)
def test_credentials_replace_those_of_the_url(
    url: str, username: str, password: str, want: str
) -> None:
    assert with_credentials(url, username, password) == want


@pytest.mark.parametrize(
    ("url", "mode", "want"),
    [
        ("redis://r", "Standalone", [("r", 6379)]),
        ("rediss://me:p,w@r:6380/3?x=a,b", "Standalone", [("r", 6380)]),
        (
            "redis://a:1, b,[fd00::1]:2,[fd00::2]/0",
            CLUSTER,
            [("a", 1), ("b", 6379), ("fd00::1", 2), ("fd00::2", 6379)],
        ),
        ("redis://a,b:1", SENTINEL, [("a", 26379), ("b", 1)]),
        ("redis://", "Standalone", [("localhost", 6379)]),
    ],
)
def test_a_url_names_servers(url: str, mode: str, want: list[tuple[str, int]]) -> None:
    assert addresses(url, mode) == want


SERVER = RedisServer(url="redis://:hush@a:1,b:2/0", mode=SENTINEL, sentinel_master="results")
IN_CLUSTER = replace(SERVER, mode=CLUSTER)


@pytest.mark.parametrize(
    ("server", "problem"),
    [
        (SERVER, ""),
        (IN_CLUSTER, ""),
        (replace(IN_CLUSTER, url="redis://a,b"), ""),
        (replace(IN_CLUSTER, url="redis://a?db=0"), ""),
        (replace(SERVER, mode="Standalone"), "names 2 servers, and the mode is Standalone"),
        (replace(SERVER, mode="Ring"), "expected Standalone, Sentinel, Cluster"),
        (replace(SERVER, sentinel_master=""), "needs the name of the master"),
        (replace(IN_CLUSTER, url="redis://a/1"), "names the database 1"),
        (replace(IN_CLUSTER, url="redis://a/0?db=2"), "names the database 2"),
        (replace(SERVER, url="http://:hush@a"), "none of Redis"),
        (replace(SERVER, url="redis://:hush@a:x"), "not valid: expected HOST"),
        (replace(SERVER, url="redis://:hush@a:99999"), "not valid: expected HOST"),
    ],
)
def test_what_cannot_work_is_explained_without_the_password(
    server: RedisServer, problem: str
) -> None:
    found = server_problem(server)
    assert problem in found
    assert bool(found) == bool(problem)
    assert "hush" not in found
