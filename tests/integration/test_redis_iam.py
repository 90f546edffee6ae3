"""Redis of AWS: a TLS server that accepts the newest token of each user, and ends connections."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nanogrid import redis_clients, redis_iam, wire
from nanogrid.reasons import Reason
from nanogrid.redis_iam import Signer, TokenError
from nanogrid.redis_url import CLUSTER
from nanogrid.tenancy import Area
from nanogrid_gateway.api.runs.result_feed import ResultFeed
from nanogrid_gateway.api.runs.waiter import Waiter
from nanogrid_gateway.api.settings import Settings as GatewaySettings
from nanogrid_operator.settings import Settings
from support.certificates import Certificates, certificates
from support.redis_delivery import delivered_once, refused
from support.redis_server import (
    RESULT,
    WAIT_SECONDS,
    Server,
    a_publisher,
    needs_redis,
    owner_of,
)
from support.s3_server import free_port

pytestmark = [pytest.mark.integration, needs_redis]

# The users of docs/operations.md.
RIGHTS = {
    "nanogrid": "~result:* ~results ~results:* resetchannels &result:* -@all +ping +eval +get +set "
    "+xadd +publish +del +xdel",
    "gateway": "%R~result:* resetchannels &result:* -@all +ping +get +mget +subscribe +unsubscribe",
}


class Aws:
    """The server as AWS runs it, and the tokens that pods get for their role."""

    def __init__(self, server: Server, tls: Certificates, port: int) -> None:
        self._server, self._tls, self._port = server, tls, port
        self.store = server.client()
        self.token = ""
        self.refusal: TokenError | None = None
        self.free = threading.Event()
        self.free.set()
        self.asked = 0
        self.more: tuple[str, ...] = ()  # rights
        self._number = 0

    def give_token(self) -> str:
        """A pod's token; blocks, as botocore does."""
        self.asked += 1
        assert self.free.wait(WAIT_SECONDS)
        if self.refusal is not None:
            raise self.refusal
        return self.token

    async def rotate(self) -> None:
        """End the tokens and connections of before; pods get new tokens."""
        self._number += 1
        self.token = f"results/?Action=connect&User=x&X-Amz-Signature={self._number}"
        await self.accept(self.token)

    async def accept(self, token: str) -> None:
        """Accept no other token, and end all connections, as AWS does after twelve hours."""
        for user, rights in RIGHTS.items():
            await self.store.execute_command(
                "ACL", "SETUSER", user, "reset", "on", f">{token}", *rights.split(), *self.more
            )
        for one in await self._connections():
            await self.store.client_kill_filter(_id=one["id"])

    async def _connections(self) -> list[dict[str, str]]:
        return [one for one in await self.store.client_list() if one["user"] in RIGHTS]

    def operator(self, **changes: Any) -> Settings:
        given = self._server.settings(
            redis_url=f"rediss://nanogrid@127.0.0.1:{self._port}/0",
            redis_password="",
            redis_ca_bundle=self._tls.ca.read_text(),
            redis_iam_cache="results",
        )
        return replace(given, **changes)

    def gateway(self) -> GatewaySettings:
        return GatewaySettings(
            namespace="team-a",
            compatibility_namespace="team-a",
            s3_bucket="jobs",
            redis_url=f"rediss://nanogrid@127.0.0.1:{self._port}/0",
            redis_username="gateway",
            redis_ca_bundle=self._tls.ca.read_text(),
            redis_iam_cache="results",
            redis_timeout_seconds=WAIT_SECONDS,
        )


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def server(
    tmp_path: Path, tls: Certificates, request: pytest.FixtureRequest
) -> Iterator[tuple[Server, int]]:
    """The server, with these options, and its port with TLS."""
    options: tuple[str, ...] = getattr(request, "param", ())
    folder, port = tls.ca.parent, free_port()
    server = Server(tmp_path)
    server.start(
        "--tls-port", str(port), "--tls-cert-file", str(folder / "server.pem"),
        "--tls-key-file", str(folder / "server.key"), "--tls-ca-cert-file", str(tls.ca),
        "--tls-auth-clients", "no", *options,
    )  # fmt: skip
    yield server, port
    server.stop()


@pytest.fixture
async def aws(
    server: tuple[Server, int], tls: Certificates, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Aws]:
    aws = Aws(server[0], tls, server[1])
    monkeypatch.setattr(Signer, "token", lambda _: aws.give_token())
    # The tests do not wait until a token ends: each connection gets a new one.
    monkeypatch.setattr(redis_iam, "RENEW_SECONDS", 0.0)
    monkeypatch.setattr(redis_iam, "USABLE_SECONDS", 0.0)
    await aws.rotate()
    yield aws
    await aws.store.aclose()


def result(request_id: str) -> wire.Result:
    return replace(RESULT, request_id=request_id)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not condition():  # noqa: ASYNC110  other tasks make it true
            await asyncio.sleep(0.01)


# The operator.


async def test_the_operator_delivers_with_the_new_token_at_once(aws: Aws, server: Any) -> None:
    async with a_publisher(aws.operator()) as publisher:
        await publisher.check()
        await aws.rotate()
        await delivered_once(publisher, server[0])


async def test_no_result_is_lost_when_all_connections_end(aws: Aws) -> None:
    names = [f"order-{number}" for number in range(20)]
    async with a_publisher(aws.operator()) as publisher:
        for some in (names[:10], names[10:]):
            deliveries = await asyncio.gather(*(publisher.publish(result(name)) for name in some))
            assert [d.state for d in deliveries] == ["Delivered"] * len(some)
            await aws.rotate()

    entries = await aws.store.xrange("results")
    assert sorted(fields["requestId"] for _, fields in entries) == sorted(names)


async def test_a_token_that_aws_refuses_is_access_denied_with_what_to_grant(
    aws: Aws, server: Any
) -> None:
    await aws.accept("the token of another role")
    async with a_publisher(aws.operator()) as publisher:
        await refused(
            publisher, Reason.REDIS_ACCESS_DENIED, "username-password", "elasticache:Connect",
            "cache results", "user nanogrid", "ID that equals its name",
        )  # fmt: skip
        await aws.accept(aws.token)
        await delivered_once(publisher, server[0])


@pytest.mark.parametrize("reason", [Reason.REDIS_ACCESS_DENIED, Reason.REDIS_UNAVAILABLE])
async def test_a_pod_without_a_token_says_why(aws: Aws, server: Any, reason: Reason) -> None:
    aws.refusal = TokenError("what is wrong", reason)
    async with a_publisher(aws.operator()) as publisher:
        before = aws.asked
        await refused(publisher, reason, "TokenError: what is wrong")
        assert aws.asked == before + 1, "AWS is not asked twice in a row"
        aws.refusal = None
        await delivered_once(publisher, server[0])


async def test_a_connection_whose_caller_gave_up_is_not_used_without_a_token(aws: Aws) -> None:
    client = redis_clients.client(aws.operator().redis_server)
    try:
        aws.free.clear()
        first = asyncio.create_task(client.ping())
        await until(lambda: aws.asked)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        aws.free.set()

        assert first.cancelled()
        assert await client.ping()
    finally:
        aws.free.set()
        await client.aclose()


# A Redis Cluster, as ElastiCache Serverless and MemoryDB are: AWS shows one node.


@pytest.mark.parametrize(
    "server", [("--cluster-enabled", "yes", "--tls-cluster", "yes")], indirect=True
)
async def test_a_cluster_is_used_with_the_new_token_at_once(aws: Aws) -> None:
    aws.more = ("~*", "&*", "+cluster", "+command")
    await aws.store.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    async with asyncio.timeout(WAIT_SECONDS):
        while (await aws.store.execute_command("CLUSTER INFO"))["cluster_state"] != "ok":  # noqa: ASYNC110  the server makes it true
            await asyncio.sleep(0.01)
    await aws.rotate()
    area = Area.of("team-a", bucket="", redis_cluster=True)
    settings = aws.operator(redis_mode=CLUSTER)
    async with a_publisher(settings) as publisher:
        for name in ("early", "late"):
            delivery = await publisher.publish(result(name), owner_of(result(name), area))
            assert delivery.state == "Delivered", delivery.message
            await aws.rotate()

        await aws.accept("the token of another role")
        delivery = await publisher.publish(result("more"), owner_of(result("more"), area))
        assert delivery.reason is Reason.REDIS_ACCESS_DENIED
        assert "elasticache:Connect on the cache results" in delivery.message
    assert len(await aws.store.xrange(area.stream)) == 2


# The gateway.


class NoJobs:
    """An API server that does not answer: all results come from Redis."""

    def __getattr__(self, _: str) -> Any:
        async def never(*_: Any, **__: Any) -> None:
            await asyncio.Event().wait()

        return never


@asynccontextmanager
async def a_feed(aws: Aws) -> AsyncIterator[ResultFeed]:
    api: Any = NoJobs()
    feed = ResultFeed(api, "jobs", aws.gateway())
    try:
        yield feed
    finally:
        await feed.close()


async def waiter_of(feed: ResultFeed, request_id: str) -> Waiter:
    waiter = Waiter(request_id)
    await feed.subscribe(waiter)
    return waiter


async def received(waiter: Waiter) -> str:
    """The requestId of the result that a waiter gets."""
    notification = await waiter.next(WAIT_SECONDS)
    assert notification is not None
    assert notification.text is not None
    return wire.loads(wire.Result, notification.text).request_id


async def test_the_listener_of_the_gateway_connects_with_the_new_token(aws: Aws) -> None:
    async with a_feed(aws) as feed, a_publisher(aws.operator()) as publisher:
        await until(lambda: not feed.error)
        early, late = await waiter_of(feed, "early"), await waiter_of(feed, "late")
        await publisher.publish(result("early"))
        assert await received(early) == "early"
        assert await feed.stored("early")

        await aws.rotate()
        # Perhaps before the listener is back.
        assert (await publisher.publish(result("late"))).state == "Delivered"

        assert await received(late) == "late"
        await until(lambda: not feed.error)
        after = await waiter_of(feed, "after")
        delivery = await publisher.publish(result("after"))
        assert (delivery.state, delivery.receivers) == ("Delivered", 1)
        assert await received(after) == "after"
        assert await feed.stored("after")


async def test_a_gateway_whose_token_aws_refuses_says_what_to_grant(aws: Aws) -> None:
    await aws.accept("the token of another role")
    async with a_feed(aws) as feed:
        await until(lambda: "username-password" in feed.error)
        assert "elasticache:Connect on the cache results and the user gateway" in feed.error

        await aws.accept(aws.token)
        await until(lambda: not feed.error)
        await waiter_of(feed, "one")
