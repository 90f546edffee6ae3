"""The gateway among callers without a valid token: few reviews, and others are not affected."""

import contextlib
import itertools
import socket
import time
import urllib.parse
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from nanogrid import names
from nanogrid.throttle import ADDRESS_BURST, ADDRESS_RATE
from support.gateway_fixtures import MARKS
from support.gateway_world import Answer, Gateway, World

pytestmark = [*MARKS, pytest.mark.alone, pytest.mark.security]
VALID = "caller-a-" + "a" * 20
NEW = "caller-b-" + "b" * 20
HALF_HEAD = b"GET /runs HTTP/1.1\r\nX-Padding: "
MOST_DENIALS = 30 * ADDRESS_BURST  # a slow machine gets some attempts back meanwhile
_numbers = itertools.count()


@pytest.fixture(scope="module")
def guarded(world: World) -> Iterator[Gateway]:
    world.cluster.tokens |= {VALID: "caller-a", NEW: "caller-b"}
    world.cluster.rights |= {(user, "list", names.PLURAL) for user in ("caller-a", "caller-b")}
    # The tests themselves are a proxy.
    with world.gateway(auth_mode="kubernetes", trusted_proxies="127.0.0.1/32") as gateway:
        yield gateway


def ask(gateway: Gateway, token: str, client: str = "198.51.100.7") -> Answer:
    """List the runs as the client of a proxy."""
    headers = {"Authorization": f"Bearer {token}", "X-Forwarded-For": f"203.0.113.9, {client}"}
    return gateway.call("GET", "/runs", headers=headers)


def test_wrong_tokens_cause_few_reviews_and_others_are_not_affected(
    world: World, guarded: Gateway
) -> None:
    assert ask(guarded, VALID).status == 200
    before, began = world.cluster.reviews, time.monotonic()
    with ThreadPoolExecutor(20) as pool:
        tokens = [f"wrong-{next(_numbers)}-{'x' * 20}" for _ in range(300)]
        answers = list(pool.map(lambda token: ask(guarded, token), tokens))
    took, reviews = time.monotonic() - began, world.cluster.reviews - before
    print(f"\n{len(tokens)} wrong tokens in {took:.1f} s: {reviews} reviews")

    assert ADDRESS_BURST <= reviews <= ADDRESS_BURST + ADDRESS_RATE * took + 1
    assert {a.status for a in answers} == {401, 429}
    refused = next(a for a in answers if a.status == 429)
    assert refused.reason == "RateLimited"
    assert int(refused.headers["Retry-After"]) >= 1
    assert ask(guarded, VALID).status == 200  # of the same address
    assert ask(guarded, NEW, "198.51.100.8").status == 200
    assert guarded.call("GET", "/healthz").status == 200


def test_a_wrong_token_is_reviewed_once(world: World, guarded: Gateway) -> None:
    before = world.cluster.reviews
    token = f"wrong-{next(_numbers)}-{'x' * 20}"

    assert {ask(guarded, token, "198.51.100.9").status for _ in range(5)} == {401}
    assert world.cluster.reviews - before == 1


def test_sign_ins_with_wrong_tokens_are_limited(world: World, guarded: Gateway) -> None:
    def sign_in(token: str, client: str) -> Answer:
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Sec-Fetch-Site": "same-origin",
            "X-Forwarded-For": client,
        }
        body = urllib.parse.urlencode({"token": token}).encode()
        return guarded.call("POST", "/web/sign-in", body, headers)

    statuses = []
    for _ in range(MOST_DENIALS):
        answer = sign_in(f"wrong-{next(_numbers)}-{'x' * 20}", "198.51.100.20")
        statuses.append(answer.status)
        if answer.status == 429:
            break

    assert len(statuses) > ADDRESS_BURST
    assert (set(statuses[:-1]), statuses[-1]) == ({401}, 429)
    assert int(answer.headers["Retry-After"]) >= 1
    assert sign_in(VALID, "198.51.100.21").status == 303


def test_a_client_cannot_choose_its_address(world: World) -> None:
    world.cluster.tokens[VALID] = "caller-a"
    with world.gateway(auth_mode="kubernetes") as gateway:  # without trusted proxies
        statuses = []
        for _ in range(MOST_DENIALS):
            number = next(_numbers)
            token = f"wrong-{number}-{'x' * 20}"
            statuses.append(
                ask(
                    gateway, token, f"198.{number // 62_500}.{number // 250 % 250}.{number % 250}"
                ).status
            )
            if statuses[-1] == 429:
                break

    assert len(statuses) > ADDRESS_BURST
    assert (set(statuses[:-1]), statuses[-1]) == ({401}, 429)


@pytest.fixture(scope="module")
def crowded(world: World) -> Iterator[Gateway]:
    """A gateway for few connections, which may stay for 300 s."""
    limits = {"max_connections": 100, "max_connections_per_address": 80, "read_seconds": 300}
    with world.gateway(**limits) as gateway:
        yield gateway


@pytest.mark.parametrize(
    "begin", [b"", b"GET /runs HTTP/1.1\r\nX-Padding: "], ids=["silent", "half"]
)
def test_connections_without_requests_keep_no_others_out(crowded: Gateway, begin: bytes) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(300):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", crowded.port)))
            with contextlib.suppress(ConnectionError):
                client.sendall(begin)
        for _ in range(3):
            assert crowded.call("GET", "/healthz").status == 200  # and not cut off
