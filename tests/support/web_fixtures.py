"""Fixtures of the web page's integration tests: a gateway with thousands of runs."""

import uuid
from collections.abc import Iterator

import pytest

from nanogrid_gateway.api.runs.jobs import job_name
from support.gateway_fixtures import MARKS  # noqa: F401 for the modules that use the fixtures
from support.gateway_world import Gateway, World, a_world, wait_for
from support.s3_server import S3Server
from support.web_visitor import (
    FUNCTION,
    JOBS,
    PERMISSIONS,
    READER,
    READER_TOKEN,
    TOKEN,
    USER,
    Visitor,
    shown_runs,
    signed_in,
)
from support.web_world import a_function, a_hostile_run, a_job, a_success, add, an_oom, fill

RUNS = 5000


@pytest.fixture(scope="module")
def web_world(s3_server: S3Server) -> Iterator[World]:
    """Many runs, four detailed ones, a function, and two users with all permissions."""
    with a_world(s3_server) as world:
        fill(world.cluster, RUNS)
        a_success(world.cluster, s3_server, "sales")
        an_oom(world.cluster, "oom")
        a_hostile_run(world.cluster, "hostile")
        a_function(world.cluster, FUNCTION)
        world.cluster.tokens |= {TOKEN: USER, READER_TOKEN: READER}
        for user in (USER, READER):
            world.cluster.rights |= {(user, *permission) for permission in PERMISSIONS}
        yield world


@pytest.fixture(scope="module")
def web_gateway(web_world: World) -> Iterator[Gateway]:
    with web_world.gateway(
        auth_mode="kubernetes", auth_cache_seconds=0, web_key="k" * 32, max_streams=3
    ) as gateway:
        wait_for(lambda: shown_runs(signed_in(gateway).get("/web/")), "the first listing")
        yield gateway


@pytest.fixture
def visitor(web_gateway: Gateway) -> Visitor:
    return signed_in(web_gateway)


@pytest.fixture
def running(web_world: World) -> Iterator[str]:
    """The requestId of an unfinished run, the newest of all."""
    request_id = f"live-{uuid.uuid4().hex[:8]}"
    job = a_job(request_id, ago=0, phase="Running", reason="Executing", podName=f"p-{request_id}")
    add(web_world.cluster, job)
    yield request_id
    web_world.cluster.remove(JOBS, job_name(request_id))
