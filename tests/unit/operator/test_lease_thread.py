"""Renewals do not wait for a busy main loop, and end when it hangs."""

import asyncio
import threading
import time

import pytest

from nanogrid.kube.client import KubeApi
from nanogrid_operator.kube.leader_election import LeaseLost
from nanogrid_operator.kube.lease_thread import HUNG_SECONDS, LeaseThread, election
from support.operator_fakes import FakeKube

LEASES = "/apis/coordination.k8s.io/v1/namespaces/platform/leases"
HANG_SECONDS = 60.0


class Kube(FakeKube):
    """Counts renewals, and knows its thread."""

    def __init__(self) -> None:
        super().__init__()
        self.renewed = threading.Event()
        self.threads: set[str] = set()
        self.closed = False

    async def patch(self, path: str, name: str, body: dict) -> dict:  # type: ignore[type-arg]
        self.threads.add(threading.current_thread().name)
        answer = await super().patch(path, name, body)
        if "holderIdentity" not in body["spec"]:
            self.renewed.set()
        return answer

    async def close(self) -> None:
        self.closed = True


def connecting(kube: Kube):  # type: ignore[no-untyped-def]
    async def connect() -> KubeApi:
        return kube

    return connect


async def test_renewals_go_on_while_the_main_loop_is_busy() -> None:
    kube = Kube()
    async with election(connecting(kube), "platform", "nanogrid", "a") as elector:
        assert await elector.try_acquire()
        renewing = asyncio.create_task(elector.renew())
        await asyncio.sleep(0)
        kube.renewed.clear()

        assert kube.renewed.wait(HANG_SECONDS), "this blocks the main loop"

        renewing.cancel()
        await elector.release()

    assert kube.threads == {"lease"}
    assert kube.closed
    assert kube.objects[f"{LEASES}/nanogrid"]["spec"]["holderIdentity"] == ""


async def test_a_lost_lease_reaches_the_main_loop() -> None:
    kube = Kube()
    async with election(connecting(kube), "platform", "nanogrid", "a") as elector:
        await elector.acquire()
        kube.objects[f"{LEASES}/nanogrid"]["spec"]["holderIdentity"] = "b"
        kube.touch(LEASES, "nanogrid")

        with pytest.raises(LeaseLost, match="b holds Lease"):
            await elector.renew()


async def test_a_main_loop_that_hangs_is_noticed() -> None:
    began = time.monotonic()
    late = 0.0
    async with LeaseThread(lambda: began + late) as thread:
        assert thread.main_loop_alive()
        late = HUNG_SECONDS

        assert not thread.main_loop_alive()
