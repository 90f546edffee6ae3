"""The options of the Redis clients of operator and gateway."""

import pytest
from redis.asyncio.connection import SSLConnection

from nanogrid.redis_clients import connection_options
from nanogrid.redis_url import RedisServer


def test_options_have_address_and_credentials() -> None:
    server = RedisServer(url="redis://me:old@r:6380/3", username="writer", password="p@/")
    assert connection_options(server) == {
        "host": "r",
        "port": 6380,
        "db": 3,
        "username": "writer",
        "password": "p@/",
    }


def test_rediss_is_tls() -> None:
    options = connection_options(RedisServer(url="rediss://r"))
    assert options == {"host": "r", "port": 6379, "connection_class": SSLConnection}


def test_another_url_is_refused() -> None:
    with pytest.raises(ValueError, match="redis://"):
        connection_options(RedisServer(url="http://r"))


def test_no_secret_is_shown() -> None:
    server = RedisServer(url="redis://:hush@r", password="hush")
    assert "hush" not in repr(server)
