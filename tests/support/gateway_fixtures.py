"""Fixtures of the gateway's integration tests."""

import shutil
from collections.abc import Iterator

import pytest

from support.gateway_world import World, a_world
from support.s3_server import S3Server

MARKS = [
    pytest.mark.integration,
    pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs redis-server on PATH"),
]


@pytest.fixture(scope="module")
def world(s3_server: S3Server) -> Iterator[World]:
    """Redis, S3 and an API server for the gateways of one module."""
    with a_world(s3_server) as world:
        yield world
