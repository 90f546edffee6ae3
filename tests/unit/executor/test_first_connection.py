"""The first connection of a pod to S3, or to the egress proxy, may be refused for a moment."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from nanogrid import names
from nanogrid_executor.agent.egress_proxy import EgressProxy, egress_proxy_of
from nanogrid_executor.first_connection import address_of, await_connection, await_s3
from support.s3_server import make_task


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> tuple[str, int]:
    """An address where nothing listens yet."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        found: tuple[str, int] = server.getsockname()
    monkeypatch.setenv(names.ENV_S3_ENDPOINT, f"http://{found[0]}:{found[1]}")
    return found


@contextmanager
def listening_late(address: tuple[str, int]) -> Iterator[threading.Event]:
    """A server that begins to listen after a moment; the event says that it has begun."""
    listening = threading.Event()

    def listen() -> None:
        time.sleep(0.2)
        with socket.create_server(address) as server:
            listening.set()
            server.accept()[0].close()

    thread = threading.Thread(target=listen)
    thread.start()
    yield listening
    thread.join()


def test_it_waits_until_a_connection_succeeds(
    address: tuple[str, int], capsys: pytest.CaptureFixture[str]
) -> None:
    with listening_late(address) as listening:
        await_s3(20)
        assert listening.is_set(), "it returned before S3 could answer"
    assert "s3-first-connection" in capsys.readouterr().out


def test_it_waits_for_the_proxy_if_there_is_one(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(names.ENV_S3_ENDPOINT, "http://s3.invalid")
    monkeypatch.setenv(names.ENV_S3_PROXY, "http://{}:{}/".format(*address))
    with socket.create_server(address):
        await_s3(20)
    shown = capsys.readouterr().out
    assert "error=" not in shown or "error=none" in shown


@pytest.mark.usefixtures("address")
def test_it_gives_up_and_leaves_the_error_to_the_request(
    capsys: pytest.CaptureFixture[str],
) -> None:
    await_s3(0.1)
    assert "refused" in capsys.readouterr().out


def test_it_says_nothing_when_the_network_is_ready(
    address: tuple[str, int], capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(address):
        await_s3()
    assert capsys.readouterr().out == ""


def test_it_ends_when_it_is_stopped(address: tuple[str, int]) -> None:
    looks = iter([False, False, True])
    found = await_connection(address, 60, lambda: next(looks))
    assert "refused" in found.error
    assert next(looks, None) is None


def test_a_look_up_that_hangs_delays_no_end(
    monkeypatch: pytest.MonkeyPatch, address: tuple[str, int]
) -> None:
    released = threading.Event()

    def hang(*_: object) -> None:
        released.wait(60)
        raise OSError("late")

    monkeypatch.setattr(socket, "create_connection", hang)
    assert await_connection(address, 0.1).error == "no answer"
    assert not released.is_set()
    released.set()


def test_the_egress_proxy_is_awaited_until_it_accepts(
    address: tuple[str, int], capsys: pytest.CaptureFixture[str]
) -> None:
    with listening_late(address) as listening:
        EgressProxy(address, 20).wait(lambda: False)
        assert listening.is_set(), "it returned before the proxy could answer"
    assert "egress-proxy-first-connection" in capsys.readouterr().out


def test_an_egress_proxy_that_never_accepts_delays_code_only_for_its_time(
    address: tuple[str, int], capsys: pytest.CaptureFixture[str]
) -> None:
    EgressProxy(address, 0.1).wait(lambda: False)
    shown = capsys.readouterr().out
    assert "egress-proxy-first-connection" in shown
    assert "refused" in shown


@pytest.mark.parametrize(
    ("url", "want"),
    [
        (
            "http://0b6d:signed@egress.svc:3128",
            ("egress.svc", 3128),
        ),
        ("http://0b6d:signed@[fd00::1]:3128", ("fd00::1", 3128)),
        ("http://proxy.example.com:3128", None),  # the job has chosen it itself
        ("http://somebody:secret@proxy.example.com:3128", None),
        ("", None),
    ],
)
def test_the_egress_proxy_of_a_job(url: str, want: tuple[str, int] | None) -> None:
    found = egress_proxy_of(make_task(env={names.ENV_HTTPS_PROXY: url}))
    assert (found and found.address) == want


def test_a_job_without_an_allow_list_has_no_egress_proxy() -> None:
    assert egress_proxy_of(make_task()) is None


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
