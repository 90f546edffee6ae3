"""Fixtures of the SDK's unit tests."""

from collections.abc import AsyncIterator, Iterator

import pytest

from nanogrid.cli.http_serving import serving
from nanogrid.client import Client
from nanogrid.kube.client import KubeApi
from support.cli_terminal import Terminal, open_terminal
from support.client_server import FakeApi
from support.fake_gateway import FakeGateway
from support.kube_server import ApiServer, Observed, connected
from support.memory_storage import MemoryStorage


@pytest.fixture
def api() -> Iterator[FakeApi]:
    """An API server whose operator runs inline code."""
    with serving(FakeApi()) as server:
        yield server


@pytest.fixture
def idle_api(api: FakeApi) -> FakeApi:
    """The API server without an operator."""
    api.operator = None
    return api


@pytest.fixture
def storage() -> MemoryStorage:
    return MemoryStorage()


@pytest.fixture
def client(api: FakeApi, storage: MemoryStorage) -> Client:
    """A client of the API server and of an S3 in memory."""
    return Client(cluster=api.cluster(), s3=storage)


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    with serving(FakeGateway()) as server:
        yield server


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """The command line against an empty in-memory cluster."""
    return open_terminal(monkeypatch)


@pytest.fixture
def server() -> ApiServer:
    """The API server of the asynchronous client; it answers as a test says."""
    return ApiServer()


@pytest.fixture
def observed() -> Observed:
    """What the asynchronous client hands on."""
    return Observed()


@pytest.fixture
async def kube(
    server: ApiServer, observed: Observed, request: pytest.FixtureRequest
) -> AsyncIterator[KubeApi]:
    """The asynchronous client, connected to ``server``; a parameter is its timeout."""
    async with connected(server, observed, getattr(request, "param", 60.0)) as kube:
        yield kube
