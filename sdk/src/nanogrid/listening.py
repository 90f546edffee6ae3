"""Where servers listen: on all addresses of a pod, IPv6 and IPv4, with one socket.

A kernel without IPv6 has no address ``::``, so there the socket is one of IPv4. asyncio is given
the socket: by itself it makes a socket of ``::`` refuse IPv4.
"""

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio

_ALL: Final = ("", "::")  # of a setting for the address to listen on
_IPV6: Final = "::"
_IPV4: Final = "0.0.0.0"  # noqa: S104 a pod's own addresses; its policies limit who reaches it


def all_addresses() -> str:
    """The address that means all addresses of this machine."""
    return _IPV6 if socket.has_dualstack_ipv6() else _IPV4


def listen_on_all(port: int, backlog: int) -> socket.socket:
    """A socket that listens on all addresses; 0 chooses a port.

    Raises:
        OSError: the port is in use.
    """
    if all_addresses() == _IPV6:
        return socket.create_server(
            (_IPV6, port), family=socket.AF_INET6, backlog=backlog, dualstack_ipv6=True
        )
    return socket.create_server((_IPV4, port), backlog=backlog)


async def create_server(
    protocol: "Callable[[], asyncio.Protocol]", host: str, port: int, backlog: int
) -> "asyncio.Server":
    """A server of asyncio that listens, and accepts nothing before ``start_serving``."""
    import asyncio  # late: the executor does not need it, and its import takes long

    create = asyncio.get_running_loop().create_server
    if host in _ALL:
        listener = listen_on_all(port, backlog)
        return await create(protocol, sock=listener, backlog=backlog, start_serving=False)
    return await create(protocol, host, port, backlog=backlog, start_serving=False)
