"""`helm test`: are the CRDs there, do the servers answer, does one real job succeed?

It runs in a pod of its own, whose service account may only create, read and delete the one job. It
prints a line per check and exits with 1 at the first that fails.
"""

import argparse
import asyncio
import logging
import os
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import aiohttp

from nanogrid import controller_class, log_line, logs, names
from nanogrid.kube.client import KubeApi
from nanogrid.kube.conventions import JOBS, KubeError, collection
from nanogrid.lifecycle import Phase, finished, phase_of
from nanogrid.settings import SettingsError, env, help_text, values
from nanogrid.types import Json

log = logging.getLogger("nanogrid.self-test")

PAUSE_SECONDS: Final = 1.0
REQUEST_SECONDS: Final = 5.0
CODE: Final = "print(6 * 7)"
STDOUT: Final = "42\n"
KINDS: Final = frozenset(
    {names.PLURAL, names.FUNCTION_PLURAL, names.POOL_PLURAL, names.TENANT_PLURAL}
)


class SelfTestError(Exception):
    """A check failed; the message says what was found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfTestSettings:
    """Read once at the start; see the ``doc`` of each field."""

    namespace: str = env("NANOGRID_SELF_TEST_NAMESPACE", "default", "of the job")
    job: str = env("NANOGRID_SELF_TEST_JOB", "nanogrid-test", "name of the job")
    controller_class: str = env(controller_class.ENV, "", "of the installation; empty: none")
    urls: str = env("NANOGRID_SELF_TEST_URLS", "", "of the servers' readiness, comma-separated")
    timeout_seconds: float = env("NANOGRID_SELF_TEST_TIMEOUT_SECONDS", 300.0, "for each check")


def missing_kinds(resources: Json) -> list[str]:
    """Plurals of NanoGrid's kinds that the API server does not serve.

    Args:
        resources: the APIResourceList of the group's version.
    """
    return sorted(KINDS - {resource["name"] for resource in resources.get("resources", [])})


def problem_of(job: Json) -> str:
    """Why a finished job is not a success; empty if it is one."""
    status = job.get("status") or {}
    if phase_of(job) != Phase.SUCCEEDED.value:
        return f"{status.get('phase')} ({status.get('reason')}): {status.get('message')}"
    stdout = (status.get("result") or {}).get("stdout")
    return "" if stdout == STDOUT else f"its output is {stdout!r}, not {STDOUT!r}"


def job_of_test(settings: SelfTestSettings) -> Json:
    """The job that the test runs."""
    spec: Json = {"code": {"inline": CODE}}
    if settings.controller_class:
        spec[controller_class.FIELD] = settings.controller_class
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": settings.job, "namespace": settings.namespace},
        "spec": spec,
    }


async def run(kube: KubeApi, settings: SelfTestSettings, say: Callable[[str], None]) -> None:
    """All checks, one after another.

    Raises:
        SelfTestError: One failed, or took longer than the timeout.
        KubeError: The API server refused.
    """
    started = time.monotonic()
    limit = settings.timeout_seconds
    await _within(limit, "the CRDs", _crds(kube))
    say("the CRDs are installed")
    await check_servers([u for u in settings.urls.split(",") if u], limit, say)
    job = await _within(limit, f"job {settings.job}", _finished_job(kube, settings))
    logs.note(logs.fields_of_job(job))
    if problem := problem_of(job):
        raise SelfTestError(f"job {settings.namespace}/{settings.job}: {problem}")
    say(f"a job succeeded; all checks took {time.monotonic() - started:.1f} s")


async def check_servers(urls: list[str], seconds: float, say: Callable[[str], None]) -> None:
    """Wait until each URL answers with a success.

    Raises:
        SelfTestError: One does not within these seconds.
    """
    for url in urls:
        await _within(seconds, url, _ready(url))
        say(f"{url} is ready")


async def _within(seconds: float, what: str, check: Awaitable[Json]) -> Json:
    try:
        async with asyncio.timeout(seconds):
            return await check
    except TimeoutError:
        raise SelfTestError(f"{what}: not ready within {seconds:g} s") from None


async def _crds(kube: KubeApi) -> Json:
    base, _, version = JOBS.rpartition("/")
    try:
        found = await kube.get(base, version)
    except KubeError as e:
        if e.code != 404:
            raise
        found = {}
    if missing := missing_kinds(found):
        raise SelfTestError(f"CRDs are missing: {', '.join(missing)}; install crds/")
    return found


async def _ready(url: str) -> Json:
    limit = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
    async with aiohttp.ClientSession(timeout=limit) as session:
        while True:
            try:
                async with session.get(url) as answer:
                    if answer.ok:
                        return {}
            except (aiohttp.ClientError, TimeoutError, OSError):
                pass  # the timeout of the check ends it
            await asyncio.sleep(PAUSE_SECONDS)


async def _finished_job(kube: KubeApi, settings: SelfTestSettings) -> Json:
    """The job after its end; it is deleted then. One of an earlier test is deleted first."""
    path = collection(JOBS, names.PLURAL, settings.namespace)
    await kube.delete(path, settings.job)
    while True:
        try:
            job = await kube.create(path, job_of_test(settings))
            break
        except KubeError as e:
            if e.code != 409:  # the earlier one terminates
                raise
        await asyncio.sleep(PAUSE_SECONDS)
    try:
        while not finished(job):
            await asyncio.sleep(PAUSE_SECONDS)
            job = await kube.get(path, settings.job)
    finally:
        await kube.delete(path, settings.job)
    return job


async def _main(settings: SelfTestSettings) -> int:
    kube = await KubeApi.connect(REQUEST_SECONDS, user_agent=f"{names.MANAGED_BY}-test")
    try:
        await run(kube, settings, lambda line: log.info("%s", line))
    except (SelfTestError, KubeError) as e:
        log.error("%s", e)
        return 1
    finally:
        await kube.close()
    return 0


def main() -> int:
    """The entry point; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python3 -m nanogrid_operator.self_test",
        description="Tests an installation with one real job.",
        epilog="Environment:\n" + help_text(SelfTestSettings),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    log_line.add_options(parser)
    options = parser.parse_args()
    form = options.log_format, options.log_level
    logs.start("self-test", os.environ, *form, stream=sys.stdout)
    try:
        settings = SelfTestSettings(**values(SelfTestSettings, os.environ))
    except SettingsError as e:
        log.critical("a setting is wrong: %s", e)
        return 2
    return asyncio.run(_main(settings))


if __name__ == "__main__":
    sys.exit(main())
