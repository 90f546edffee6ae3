"""Asks Sentinels for the master: the library's way, with an error that says what each answered."""

from typing import Any

from redis.asyncio.sentinel import MasterNotFoundError, Sentinel
from redis.exceptions import ConnectionError, TimeoutError

from nanogrid.redis_url import Address


class Sentinels(Sentinel):
    """The Sentinels of one or several masters."""

    async def discover_master(self, service_name: str) -> Address:
        """Host and port of the master that the first Sentinel with an answer names.

        Raises:
            MasterNotFoundError: no Sentinel knows a master of this name that is up; it says what
                they answered.
            ResponseError: a Sentinel refused the command.
        """
        answers = []
        for sentinel in tuple(self.sentinels):  # other connections ask at the same time
            options = sentinel.connection_pool.connection_kwargs
            where = f"{options['host']}:{options['port']}"
            try:
                masters: Any = await sentinel.sentinel_masters()  # by name
            except (ConnectionError, TimeoutError) as e:
                answers.append(f"{where}: {type(e).__name__}: {e}")
                continue
            state = masters.get(service_name)
            if state and self.check_master_state(state, service_name):
                # It is asked first the next time. The library exchanges two places, and loses a
                # Sentinel when another connection has exchanged them in the meantime.
                self.sentinels.sort(key=lambda other: other is not sentinel)
                return str(state["ip"]), int(state["port"])
            known = "it is down" if state else f"unknown, of {', '.join(masters) or 'none'}"
            answers.append(f"{where}: {known}")
        raise MasterNotFoundError(f"no master {service_name!r}: {'; '.join(answers)}")
