"""Sentinels and a Redis Cluster with TLS, and a certificate of the platform team's CA."""

from pathlib import Path
from typing import Any

import pytest

from nanogrid.reasons import Reason
from nanogrid.redis_url import CLUSTER, SENTINEL
from nanogrid.tenancy import Area
from nanogrid_operator.settings import Settings
from support.certificates import Certificates, certificates
from support.redis_server import PASSWORD, RESULT, a_publisher, needs_redis, owner_of
from support.redis_topologies import MASTER, SLOTS, TlsNode, until
from support.s3_server import free_port

pytestmark = [pytest.mark.integration, needs_redis]


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates(tmp_path_factory.mktemp("ca"))


async def check(tls: Certificates, **given: Any) -> None:
    """The CA's certificate is believed with the CA only."""
    area = Area.of("team-a", bucket="", redis_cluster=given["redis_mode"] == CLUSTER)
    settings = {"redis_password": PASSWORD, **given}
    async with a_publisher(Settings(**settings)) as publisher:
        without = await publisher.publish(RESULT, owner_of(RESULT, area))
    settings["redis_ca_bundle"] = tls.ca.read_text()
    async with a_publisher(Settings(**settings)) as publisher:
        delivery = await publisher.publish(RESULT, owner_of(RESULT, area))
    assert (without.state, without.reason) == ("Pending", Reason.REDIS_UNAVAILABLE)
    assert "CERTIFICATE_VERIFY_FAILED" in without.message
    assert delivery.state == "Delivered", delivery.message


async def test_a_redis_cluster_with_tls(tls: Certificates, tmp_path: Path) -> None:
    node = TlsNode(tmp_path, free_port(), tls)
    try:
        node.start("--cluster-enabled", "yes", "--requirepass", PASSWORD)
        node.call("CLUSTER", "ADDSLOTSRANGE", 0, SLOTS - 1)
        until(lambda: "cluster_state:ok" in str(node.call("CLUSTER", "INFO")), "the cluster")
        await check(tls, redis_url=f"rediss://127.0.0.1:{node.port}", redis_mode=CLUSTER)
    finally:
        node.kill()


async def test_sentinels_with_tls(tls: Certificates, tmp_path: Path) -> None:
    master, sentinel = (TlsNode(tmp_path, free_port(), tls) for _ in range(2))
    try:
        master.start("--requirepass", PASSWORD)
        sentinel.start_sentinel(master.port)
        await check(
            tls,
            redis_url=f"rediss://127.0.0.1:{sentinel.port}/0",
            redis_mode=SENTINEL,
            redis_sentinel_master=MASTER,
            redis_sentinel_password=PASSWORD,
        )
    finally:
        sentinel.kill()
        master.kill()
