"""The endpoint for reports of an operator that knows one job and its pod."""

import json
from typing import Any

from aiohttp.test_utils import TestClient, TestServer

from nanogrid import wire
from nanogrid_operator.decision.enforcement import first_condition
from nanogrid_operator.kube.leader_address import LeaderAddress
from nanogrid_operator.model.result_keys import ResultKeys
from nanogrid_operator.server.authentication import make_authenticator
from nanogrid_operator.server.forwarder import ReportForwarder
from nanogrid_operator.server.health import Health
from nanogrid_operator.server.results import ResultsApi
from nanogrid_operator.server.senders import Senders
from nanogrid_operator.settings import Settings
from nanogrid_operator.status.live_memory import LiveMemory
from nanogrid_operator.watch.cache import JobCache
from nanogrid_operator.workqueue import WorkQueue
from support.builders import (
    CREATED,
    JOB_UID,
    POD_UID,
    RESULT_KEY_MASTER,
    a_job_body,
    a_pod_body,
    a_report,
    some_settings,
)
from support.operator_fakes import FakeKube, reviewed
from support.pool_parts import no_tasks

BEARER = {"Authorization": "Bearer the-token"}


class Endpoint:
    """Start it with ``async with endpoint.http``; ``leader`` is what its election knows."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.kube, self.cache, self.queue = FakeKube(), JobCache(), WorkQueue()
        self.health = Health({}, lambda: "")
        self.cache.replace([a_job_body()], [a_pod_body()], listed_at=50)
        self.kube.review = reviewed(POD_UID)
        self.memory = LiveMemory(5.0, lambda uid: None)
        self.seconds = 1000.0
        self.leader: LeaderAddress | None = None
        self.counted: list[str] = []
        api = ResultsApi(
            senders=Senders(
                authenticator=make_authenticator(settings or some_settings(), self.kube),
                cache=self.cache,
                monotonic=lambda: self.seconds,
            ),
            keys=ResultKeys(RESULT_KEY_MASTER),
            cache=self.cache,
            queue=self.queue,
            health=self.health,
            network=lambda: first_condition(some_settings()),
            memory=self.memory,
            forwarder=ReportForwarder(lambda: self.leader, lambda: self.seconds),
            tasks=no_tasks(self.queue),
            counted=self.counted.append,
            clock=lambda: CREATED,
        )
        self.http = TestClient(TestServer(api.app()))

    async def post(
        self,
        body: str | bytes | None = None,
        headers: dict[str, str] = BEARER,
        path: str = "/v1/results",
    ) -> tuple[int, Any]:
        if body is None:
            body = wire.dumps(a_report())
        answer = await self.http.post(path, data=body, headers=headers)
        return answer.status, json.loads(await answer.text())

    @property
    def noted(self) -> bool:
        return self.cache.report(JOB_UID, 0) is not None
