"""The Redis clients of operator and gateway, from one description of the server.

The three modes differ in where a command goes: to one server, to the master that the Sentinels
name, or to the node of a Redis Cluster that has the key's slot. A client asks again after an error:
the name server, the Sentinels, or the nodes.
"""

from typing import Any, Final

import redis.asyncio
from redis import exceptions
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import SSLConnection, parse_url
from redis.asyncio.sentinel import SentinelConnectionPool

from nanogrid.redis_cluster import ClusterClient
from nanogrid.redis_iam import IamCredentials, connection_class
from nanogrid.redis_sentinels import Sentinels
from nanogrid.redis_url import (
    CLUSTER,
    SENTINEL,
    RedisServer,
    tls_options,
    with_credentials,
    without_addresses,
)

RedisClient = redis.asyncio.Redis | ClusterClient
# What commands raise; RedisClusterException is none of the library's RedisErrors.
REDIS_ERRORS: Final = (
    exceptions.RedisError,
    exceptions.RedisClusterException,
    OSError,
    TimeoutError,
)
# Of each node: more than the jobs that are worked on at a time, so that none is refused.
CLUSTER_CONNECTIONS: Final = 10_000


def connection_options(server: RedisServer) -> dict[str, Any]:
    """Database, user, password or role, TLS, and the first address: arguments of a connection.

    Raises:
        ValueError: the URL is none of Redis, or the CAs are none.
    """
    url = with_credentials(server.url, server.username, server.password)
    host, port = server.addresses[0]
    options = {**parse_url(without_addresses(url)), "host": host, "port": port}
    options |= tls_options(server.url, server.ca_bundle)
    if server.iam is not None:
        for name in ("username", "password"):  # the library refuses them with a provider
            options.pop(name, None)
        options["credential_provider"] = IamCredentials(server.iam)
        options["connection_class"] = connection_class(server.iam)
    return options


def client(server: RedisServer, **options: Any) -> RedisClient:
    """A client with its own connections; ``options`` are those of the connections.

    Raises:
        ValueError: see :func:`connection_options`.
    """
    if server.mode == CLUSTER:
        return _cluster(server, connection_options(server) | options)
    return single_client(server, **options)


def single_client(server: RedisServer, **options: Any) -> redis.asyncio.Redis:
    """The client of one server at a time: the server of the URL, or else the Sentinels' master.

    Raises:
        ValueError: see :func:`connection_options`.
    """
    given = connection_options(server) | options
    if server.mode == SENTINEL:
        return _master(server, given)
    return redis.asyncio.Redis.from_pool(redis.asyncio.ConnectionPool(**given))


async def ping(client: RedisClient) -> None:
    """Whether the server answers, or one node of a Redis Cluster.

    Raises:
        REDIS_ERRORS: it does not.
    """
    if isinstance(client, ClusterClient):
        await client.ping(target_nodes=ClusterClient.DEFAULT_NODE)
    else:
        await client.ping()


def place(client: RedisClient, key: str) -> str:
    """The server of a key as far as it is known: a node of a Redis Cluster; empty if it is one."""
    if isinstance(client, ClusterClient):
        try:
            host, port = client.owner(key)
        except exceptions.RedisClusterException:
            return ""  # the slots have not been read yet
        return f"{host}:{port}"
    return ""


async def forget(client: RedisClient, error: BaseException | None = None) -> None:
    """After an error: the next command finds out again where it goes.

    After a failover, pooled connections lead to the old server. A node of a Redis Cluster that
    refuses a command has answered; all other jobs would read the slots and connect again with it.
    """
    if isinstance(client, ClusterClient):
        if not isinstance(error, exceptions.ResponseError):
            await client.aclose()
    else:
        await client.connection_pool.disconnect(inuse_connections=False)


async def close(client: RedisClient) -> None:
    """Close all connections, also those to Sentinels."""
    if isinstance(client, ClusterClient):
        await client.shut()
        return
    pool = client.connection_pool
    await client.aclose()
    if isinstance(pool, SentinelConnectionPool):
        await pool.sentinel_manager.aclose()


def without_address(options: dict[str, Any]) -> dict[str, Any]:
    """Options for clients that take TLS as a flag and the addresses separately."""
    given = {k: v for k, v in options.items() if k not in ("host", "port", "connection_class")}
    return given | {"ssl": issubclass(options.get("connection_class", object), SSLConnection)}


def _cluster(server: RedisServer, options: dict[str, Any]) -> ClusterClient:
    given = without_address(options)
    given.pop("db", None)
    nodes = [ClusterNode(host, port) for host, port in server.addresses]
    found = ClusterClient(startup_nodes=nodes, max_connections=CLUSTER_CONNECTIONS, **given)
    if server.iam is not None:
        # The library has no parameter for it.
        found.connection_kwargs["connection_class"] = options["connection_class"]
        for node in found.startup_nodes:
            node.connection_class = options["connection_class"]
    return found


def _master(server: RedisServer, options: dict[str, Any]) -> redis.asyncio.Redis:
    given = without_address(options)
    own = ("socket_timeout", "socket_connect_timeout", "retry", "ssl", "ssl_ca_data")
    of_sentinels = {k: v for k, v in given.items() if k in own or k.startswith("ssl_")} | {
        "username": server.sentinel_username or None,
        "password": server.sentinel_password or None,
    }
    sentinel = Sentinels(server.addresses, sentinel_kwargs=of_sentinels)
    found: redis.asyncio.Redis = sentinel.master_for(server.sentinel_master, **given)
    return found
