"""The URL of Redis with credentials from the environment."""

import pytest

from nanogrid.redis_url import with_credentials


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
    ],
)
def test_credentials_replace_those_of_the_url(
    url: str, username: str, password: str, want: str
) -> None:
    assert with_credentials(url, username, password) == want
