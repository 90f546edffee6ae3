"""The client of a Redis Cluster: the library's, which finds the cluster again when it has moved."""

from typing import Any

from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.exceptions import ConnectionError, ResponseError, TimeoutError

from nanogrid.redis_url import Address


class ClusterClient(RedisCluster):
    """Sends each command to the node that has the slot of its keys.

    The library replaces the addresses that it was given with those of the nodes. In Kubernetes
    all nodes may get new addresses at a time. So this client also asks the given names again.
    """

    def __init__(self, **options: Any) -> None:
        # Each MOVED corrects one slot. The library would read all slots again after some of them.
        super().__init__(reinitialize_steps=0, **options)
        self._names_only = False
        self._failed: str | None = None  # name of the last node that did not answer

    async def initialize(
        self,
        additional_startup_nodes_info: list[Address] | None = None,
        last_failed_node_name: str | None = None,
    ) -> "ClusterClient":
        """Read the slots from one of the nodes, if they are not known.

        The node that did not answer is asked last: all commands wait for this.
        """
        if self._initialize:
            known = {} if self._names_only else self.nodes_manager.nodes_cache
            given = {node.name: node for node in self.startup_nodes}
            self.nodes_manager.startup_nodes = {**known, **given}
        failed = last_failed_node_name or self._failed
        try:
            await super().initialize(additional_startup_nodes_info, failed)
        except BaseException:
            # Addresses that no longer exist may take all the time that a caller has.
            self._names_only = not self._names_only
            raise
        self._names_only = False
        return self

    def get_node(
        self, host: str | None = None, port: int | None = None, node_name: str | None = None
    ) -> Any:
        """A node; by name, the node that ASK names, which may have joined the cluster since."""
        found = super().get_node(host, port, node_name)
        if not node_name:
            return found
        if found is None:
            host, _, text = node_name.rpartition(":")
            found = ClusterNode(host, int(text), "primary", **self.connection_kwargs)
            self.nodes_manager.nodes_cache[found.name] = found
        return _Asked(found)

    def owner(self, key: str) -> Address:
        """Host and port of the node with the slot of a key, as far as the client knows.

        Raises:
            RedisClusterException: no node has it.
        """
        node: Any = self.get_node_from_key(key)
        return str(node.host), int(node.port)

    async def execute_command(self, *args: Any, **kwargs: Any) -> Any:
        """Send a command.

        Raises:
            REDIS_ERRORS: see :mod:`nanogrid.redis_clients`.
        """
        await self.initialize()  # else the library sends the first commands to any node
        try:
            return await super().execute_command(*args, **kwargs)
        except AttributeError as e:
            # The library closes all connections when no node answers, and then a connection that
            # is just being opened has no stream: an attribute of None is missing.
            if e.obj is not None:
                raise
            raise ConnectionError("the connection was closed while it was opened") from e

    async def _execute_command(self, target_node: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return await super()._execute_command(target_node, *args, **kwargs)
        except (ConnectionError, TimeoutError):
            self._failed = target_node.name
            raise

    async def aclose(self) -> None:
        """Read the slots again before the next command, through new connections.

        The library calls this after CLUSTERDOWN, and would interrupt all other commands.
        """
        self._initialize = True

    async def shut(self) -> None:
        """Close all connections."""
        self._initialize = True
        await self.nodes_manager.aclose()
        for node in (*self.startup_nodes, *self.nodes_manager.startup_nodes.values()):
            await node.disconnect()


class _Asked:
    """A node to which a slot moves: ASKING and the command go through one connection.

    The library sends them one after the other, through any two connections of the node, and ASKING
    is only about the next command of its own connection.
    """

    def __init__(self, node: ClusterNode) -> None:
        self._node = node

    def __getattr__(self, name: str) -> Any:
        return getattr(self._node, name)

    async def execute_command(self, *args: Any, asking: bool = False, **kwargs: Any) -> Any:
        if args == ("ASKING",):
            return True  # follows with the command
        node, connection = self._node, self._node.acquire_connection()
        try:
            await node.disconnect_if_needed(connection)
            packed = connection.pack_commands([("ASKING",), args])
            await connection.send_packed_command(packed)
            try:
                await connection.read_response()
            except ResponseError:
                await connection.disconnect()  # the answer to the command would stay unread
                raise
            return await node.parse_response(connection, args[0], **kwargs)
        finally:
            node.release(connection)
