"""The Redis clients of operator and gateway, from one description of the server."""

from typing import Any

import redis.asyncio
from redis.asyncio.connection import parse_url

from nanogrid.redis_url import RedisServer, tls_options, with_credentials


def connection_options(server: RedisServer) -> dict[str, Any]:
    """Host, port, database, user, password and TLS: keyword arguments of every connection.

    Raises:
        ValueError: the URL is none of Redis, or the CAs are none.
    """
    url = with_credentials(server.url, server.username, server.password)
    return {**parse_url(url), **tls_options(server.url, server.ca_bundle)}


def client(server: RedisServer, **options: Any) -> redis.asyncio.Redis:
    """A client with its own connection pool; ``options`` are those of the connections."""
    pool = redis.asyncio.ConnectionPool(**connection_options(server), **options)
    return redis.asyncio.Redis.from_pool(pool)


def queueing_client(
    server: RedisServer, connections: int, seconds: float, **options: Any
) -> redis.asyncio.Redis:
    """A client with so many connections at most; a command waits ``seconds`` for one of them."""
    pool = redis.asyncio.BlockingConnectionPool(
        max_connections=connections, timeout=seconds, **connection_options(server), **options
    )
    return redis.asyncio.Redis.from_pool(pool)
