"""The first connection of a pod to S3 may be refused for a moment."""

import socket
import threading
import time

import pytest

from nanogrid import names
from nanogrid_executor.storage.first_connection import address_of, await_first_connection


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> tuple[str, int]:
    """An address where nothing listens yet."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        found: tuple[str, int] = server.getsockname()
    monkeypatch.setenv(names.ENV_S3_ENDPOINT, f"http://{found[0]}:{found[1]}")
    return found


def test_it_waits_until_a_connection_succeeds(
    address: tuple[str, int], capsys: pytest.CaptureFixture[str]
) -> None:
    listening = threading.Event()

    def listen() -> None:
        time.sleep(0.2)
        with socket.create_server(address) as server:
            listening.set()
            server.accept()[0].close()

    thread = threading.Thread(target=listen)
    thread.start()
    await_first_connection(20)
    assert listening.is_set(), "it returned before S3 could answer"
    thread.join()
    assert "s3-first-connection" in capsys.readouterr().out


def test_it_waits_for_the_proxy_if_there_is_one(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(names.ENV_S3_ENDPOINT, "http://s3.invalid")
    monkeypatch.setenv(names.ENV_S3_PROXY, "http://{}:{}/".format(*address))
    with socket.create_server(address):
        await_first_connection(20)
    shown = capsys.readouterr().out
    assert "error=" not in shown or "error=none" in shown


@pytest.mark.usefixtures("address")
def test_it_gives_up_and_leaves_the_error_to_the_request(
    capsys: pytest.CaptureFixture[str],
) -> None:
    await_first_connection(0.1)
    assert "refused" in capsys.readouterr().out


def test_it_says_nothing_when_the_network_is_ready(
    address: tuple[str, int], capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(address):
        await_first_connection()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("url", "want"),
    [
        ("http://s3.nanogrid:8333", ("s3.nanogrid", 8333)),
        ("https://s3.eu-west-1.amazonaws.com", ("s3.eu-west-1.amazonaws.com", 443)),
        ("http://minio/", ("minio", 80)),
        ("http://user:pass@proxy:3128/", ("proxy", 3128)),
        ("https://[fd00::1]:9000", ("fd00::1", 9000)),
        ("http://[fd00::1]", ("fd00::1", 80)),
    ],
)
def test_the_address_of_a_url(url: str, want: tuple[str, int]) -> None:
    assert address_of(url) == want
