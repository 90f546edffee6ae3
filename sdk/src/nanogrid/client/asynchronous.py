"""The client for asyncio: the same calls, awaited.

The synchronous client works in threads of the client's own (up to ``threads`` at a time), so both
behave alike. A task that is cancelled stops waiting at once; a request it had under way ends in
its thread. ``wait`` looks up every ten seconds, so its thread is free soon after. Callbacks
(``on_stdout`` …) are called in the event loop.
"""

# ruff: noqa: ASYNC109 (timeouts are the synchronous calls' own, which end their requests)

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final

from nanogrid.client.api import READY_SECONDS, Client
from nanogrid.client.asyncsession import AsyncSession
from nanogrid.client.errors import WaitTimeout
from nanogrid.client.live import Told
from nanogrid.client.manifest import Uploaded
from nanogrid.client.result import Result
from nanogrid.client.run import Run
from nanogrid.client.session import Heard
from nanogrid.client.storage import Storage
from nanogrid.client.threads import Threads, in_loop

Json = dict[str, Any]
THREADS: Final = 32
SLICE_SECONDS: Final = 10.0


class AsyncRun:
    """A submitted job; ``blocking`` is the synchronous one, whose attributes are current."""

    def __init__(self, run: Run, threads: Threads) -> None:
        self.blocking = run
        self._threads = threads

    async def wait(
        self,
        timeout: float | None = None,
        on_change: Callable[[Run], None] | None = None,
        *,
        on_stdout: Heard | None = None,
        on_stderr: Heard | None = None,
        on_output: Heard | None = None,
        on_note: Heard | None = None,
    ) -> Result:
        """As :meth:`Run.wait`."""
        heard = (in_loop(one) for one in (on_stdout, on_stderr, on_output, on_note))
        live = self.blocking.live(Told(*heard))
        try:
            result = await self._ended(timeout, in_loop(on_change))
            await self._threads.call(live.finish, result)
        finally:
            live.close()
        # What was told is called before this goes on: it is in the loop's queue already.
        await asyncio.sleep(0)
        return result

    async def _ended(
        self, timeout: float | None, on_change: Callable[[Run], None] | None
    ) -> Result:
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            seconds = SLICE_SECONDS if left is None else min(SLICE_SECONDS, left)
            try:
                return await self._threads.call(self.blocking.wait, seconds, on_change)
            except WaitTimeout:
                if left is not None and seconds >= left:
                    raise

    def logs(self, follow: bool = True, on_note: Heard | None = None) -> AsyncIterator[str]:
        """As :meth:`Run.logs`."""
        return self._threads.each(self.blocking.logs(follow, in_loop(on_note)))

    async def refresh(self) -> "AsyncRun":
        """As :meth:`Run.refresh`."""
        await self._threads.call(self.blocking.refresh)
        return self

    async def cancel(self) -> "AsyncRun":
        """As :meth:`Run.cancel`."""
        await self._threads.call(self.blocking.cancel)
        return self

    async def retry(self) -> "AsyncRun":
        """As :meth:`Run.retry`."""
        return AsyncRun(await self._threads.call(self.blocking.retry), self._threads)

    async def delete(self) -> None:
        """As :meth:`Run.delete`."""
        await self._threads.call(self.blocking.delete)


class AsyncFunctions:
    """As :class:`nanogrid.client.functions.Functions`."""

    def __init__(self, client: Client, threads: Threads) -> None:
        self._client = client
        self._threads = threads

    async def list(self, all_namespaces: bool = False) -> "list[Json]":
        """As Functions.list."""
        return await self._threads.call(lambda: self._client.functions.list(all_namespaces))

    async def get(self, name: str) -> Json:
        """As Functions.get."""
        return await self._threads.call(lambda: self._client.functions.get(name))

    async def upload(self, path: str | Path, name: str, **options: Any) -> Json:
        """As Functions.upload."""
        return await self._threads.call(
            lambda: self._client.functions.upload(path, name, **options)
        )

    async def set_memory(self, function: Json, memory: str) -> Json:
        """As Functions.set_memory."""
        return await self._threads.call(lambda: self._client.functions.set_memory(function, memory))

    async def delete(self, name: str) -> None:
        """As Functions.delete."""
        await self._threads.call(lambda: self._client.functions.delete(name))


class AsyncClient:
    """As :class:`Client`; an asynchronous context manager. ``blocking`` is the synchronous one."""

    def __init__(
        self,
        namespace: str | None = None,
        context: str | None = None,
        kubeconfig: str | None = None,
        gateway_url: str | None = None,
        s3: Storage | None = None,
        threads: int = THREADS,
    ) -> None:
        self.blocking = Client(namespace, context, kubeconfig, gateway_url, s3)
        self._threads = Threads(threads)
        self.functions = AsyncFunctions(self.blocking, self._threads)

    async def run(
        self,
        code: str | None = None,
        *,
        wait_timeout: float | None = None,
        on_change: Callable[[Run], None] | None = None,
        check: bool = False,
        on_stdout: Heard | None = None,
        on_stderr: Heard | None = None,
        on_output: Heard | None = None,
        on_note: Heard | None = None,
        **keywords: Any,
    ) -> Result:
        """As :meth:`Client.run`."""
        if self.blocking.by_gateway(keywords):
            return await self._threads.call(
                self.blocking.run,
                code,
                wait_timeout=wait_timeout,
                check=check,
                on_stdout=in_loop(on_stdout),
                on_stderr=in_loop(on_stderr),
                on_output=in_loop(on_output),
                **keywords,
            )
        run = await self.submit(code, **keywords)
        result = await run.wait(
            wait_timeout,
            on_change,
            on_stdout=on_stdout,
            on_stderr=on_stderr,
            on_output=on_output,
            on_note=on_note,
        )
        return result.raise_for_status() if check else result

    async def submit(self, code: str | Json | None = None, **keywords: Any) -> AsyncRun:
        """As :meth:`Client.submit`."""
        return self._run(await self._threads.call(self.blocking.submit, code, **keywords))

    async def get(self, name: str, namespace: str | None = None) -> AsyncRun:
        """As :meth:`Client.get`."""
        return self._run(await self._threads.call(self.blocking.get, name, namespace))

    async def list(
        self, phase: str | None = None, all_namespaces: bool = False, labels: str = ""
    ) -> "list[AsyncRun]":
        """As :meth:`Client.list`."""
        found = await self._threads.call(self.blocking.list, phase, all_namespaces, labels)
        return [self._run(run) for run in found]

    async def upload(self, path: str | Path, key: str | None = None) -> Uploaded:
        """As :meth:`Client.upload`."""
        return await self._threads.call(self.blocking.upload, path, key)

    async def invoke(
        self,
        function_id: str,
        input_data: Any = None,
        *,
        request_id: str | None = None,
        version: int | None = None,
        timeout: float = READY_SECONDS,
    ) -> Result:
        """As :meth:`Client.invoke`."""
        return await self._threads.call(
            self.blocking.invoke,
            function_id,
            input_data,
            request_id=request_id,
            version=version,
            timeout=timeout,
        )

    async def session(
        self, *, ready_timeout: float = READY_SECONDS, **keywords: Any
    ) -> AsyncSession:
        """As :meth:`Client.session`: ``async with await client.session() as session``."""
        made = await self._threads.call(
            self.blocking.session, ready_timeout=ready_timeout, **keywords
        )
        return AsyncSession(made, self._threads)

    async def attach(self, name: str, *, ready_timeout: float = READY_SECONDS) -> AsyncSession:
        """As :meth:`Client.attach`."""
        made = await self._threads.call(self.blocking.attach, name, ready_timeout=ready_timeout)
        return AsyncSession(made, self._threads)

    async def close(self) -> None:
        """As :meth:`Client.close`; threads end with what they do."""
        await self._threads.call(self.blocking.close)
        self._threads.close()

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _run(self, run: Run) -> AsyncRun:
        return AsyncRun(run, self._threads)
