"""Fixtures that several tests of the executor share."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from nanogrid_executor.paths import Paths
from nanogrid_executor.session.session import Session
from support.session_fakes import client_of, make_paths, make_session


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected sockets."""
    left, right = socket.socketpair()
    with left, right:
        yield left, right


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """The directories of a session's pod."""
    return make_paths(tmp_path)


@pytest.fixture
def session(paths: Paths) -> Session:
    """A session that accepts executions."""
    return make_session(paths)


@pytest.fixture
def client(session: Session) -> FlaskClient:
    """A client of that session's API."""
    return client_of(session)
