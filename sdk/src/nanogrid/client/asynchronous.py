"""The client for asyncio: the same calls, awaited.

The synchronous client works in threads of the client's own (up to ``threads`` at a time), so both
behave alike. A task that is cancelled stops waiting at once; a request it had under way ends in
its thread. ``wait`` looks up every ten seconds, so its thread is free soon after. Callbacks
(``on_stdout`` …) are called in the event loop.
"""

# ruff: noqa: ASYNC109 (timeouts are the synchronous calls' own, which end their requests)

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

from nanogrid.client.api import READY_SECONDS, Client
from nanogrid.client.errors import WaitTimeout
from nanogrid.client.execution import Execution
from nanogrid.client.live import Told
from nanogrid.client.manifest import Uploaded
from nanogrid.client.result import Result
from nanogrid.client.run import Run
from nanogrid.client.session import DEFAULT_CONTEXT, SHELL, FileInfo, Heard, Session
from nanogrid.client.storage import Storage

P = ParamSpec("P")
T = TypeVar("T")
Json = dict[str, Any]
THREADS: Final = 32
SLICE_SECONDS: Final = 10.0


class _Threads:
    """Runs synchronous calls beside the event loop."""

    def __init__(self, count: int) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="nanogrid")

    async def call(self, use: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, partial(use, *args, **kwargs))

    async def each(self, items: Iterator[T]) -> AsyncIterator[T]:
        end = object()
        while True:
            item = await self.call(lambda: next(items, end))
            if item is end:
                return
            yield item  # type: ignore[misc]  # it is not the end

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


class AsyncRun:
    """A submitted job; ``blocking`` is the synchronous one, whose attributes are current."""

    def __init__(self, run: Run, threads: _Threads) -> None:
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
        heard = (_in_loop(one) for one in (on_stdout, on_stderr, on_output, on_note))
        live = self.blocking.live(Told(*heard))
        try:
            result = await self._ended(timeout, _in_loop(on_change))
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
        return self._threads.each(self.blocking.logs(follow, _in_loop(on_note)))

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


class AsyncFiles:
    """As :class:`nanogrid.client.session.Files`."""

    def __init__(self, session: Session, threads: _Threads) -> None:
        self._files = session.files
        self._threads = threads

    async def list(self, path: str = "") -> "list[FileInfo]":
        """As Files.list."""
        return await self._threads.call(self._files.list, path)

    async def read(self, path: str) -> bytes:
        """As Files.read."""
        return await self._threads.call(self._files.read, path)

    async def write(self, path: str, content: bytes | str | Path) -> FileInfo:
        """As Files.write."""
        return await self._threads.call(self._files.write, path, content)

    async def delete(self, path: str) -> None:
        """As Files.delete."""
        await self._threads.call(self._files.delete, path)


class AsyncFunctions:
    """As :class:`nanogrid.client.functions.Functions`."""

    def __init__(self, client: Client, threads: _Threads) -> None:
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


class AsyncSession:
    """A session; an asynchronous context manager. ``blocking`` is the synchronous one."""

    def __init__(self, session: Session, threads: _Threads) -> None:
        self.blocking = session
        self.files = AsyncFiles(session, threads)
        self._threads = threads

    async def ready(self, timeout: float | None = None) -> "AsyncSession":
        """As :meth:`Session.ready`."""
        await self._threads.call(self.blocking.ready, timeout)
        return self

    async def execute(
        self,
        code: str,
        context: str | None = DEFAULT_CONTEXT,
        *,
        timeout: float | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
        on_stdout: Heard | None = None,
        on_stderr: Heard | None = None,
    ) -> Execution:
        """As :meth:`Session.execute`."""
        return await self._threads.call(
            self.blocking.execute,
            code,
            context,
            timeout=timeout,
            env=env,
            stdin=stdin,
            on_stdout=_in_loop(on_stdout),
            on_stderr=_in_loop(on_stderr),
        )

    async def bash(self, command: str, **options: Any) -> Execution:
        """As :meth:`Session.bash`."""
        return await self.execute(SHELL + command, None, **options)

    async def contexts(self) -> list[Json]:
        """As :meth:`Session.contexts`."""
        return await self._threads.call(self.blocking.contexts)

    async def drop_context(self, name: str) -> None:
        """As :meth:`Session.drop_context`."""
        await self._threads.call(self.blocking.drop_context, name)

    async def health(self) -> Json:
        """As :meth:`Session.health`."""
        return await self._threads.call(self.blocking.health)

    async def close(self) -> None:
        """As :meth:`Session.close`."""
        await self._threads.call(self.blocking.close)

    async def interrupt(self, number: int | None = None) -> None:
        """As :meth:`Session.interrupt`."""
        await self._threads.call(self.blocking.interrupt, number)

    async def sync(self, bucket: str, prefix: str, path: str | None = None) -> Json:
        """As :meth:`Session.sync`."""
        return await self._threads.call(self.blocking.sync, bucket, prefix, path)

    async def end(self, reason: str = "", timeout: float | None = 300.0) -> Result:
        """As :meth:`Session.end`."""
        return await self._threads.call(self.blocking.end, reason, timeout)

    async def __aenter__(self) -> "AsyncSession":
        await self._threads.call(self.blocking.__enter__)
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        await self._threads.call(self.blocking.__exit__, kind, error, trace)


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
        self._threads = _Threads(threads)
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
                on_stdout=_in_loop(on_stdout),
                on_stderr=_in_loop(on_stderr),
                on_output=_in_loop(on_output),
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


def _in_loop(heard: Callable[[T], None] | None) -> Callable[[T], None] | None:
    """The callback, called in the event loop that is running now."""
    if heard is None:
        return None
    loop = asyncio.get_running_loop()

    def hear(item: T) -> None:
        loop.call_soon_threadsafe(heard, item)

    return hear
