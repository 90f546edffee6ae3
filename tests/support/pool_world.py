"""An operator with a pool: its waiting pods, and their agents that wait at the operator."""

import asyncio
import copy
from contextlib import ExitStack
from typing import Any

from nanogrid import names, pod_identity, wire
from nanogrid.types import Json
from nanogrid_operator.model.pool import Pool, pool_facts
from nanogrid_operator.settings import Settings
from support.builders import an_object, merge_patch, some_settings, time_text
from support.operator_fakes import PODS, POOLS
from support.operator_world import World

POOL_UID = "3f0a6a31-52a4-4f43-8f6b-9d1f7f7f2a10"


def a_pool_body(
    *,
    name: str = "warm",
    uid: str = POOL_UID,
    version: int = 11,
    deleting: bool = False,
    status: Json | None = None,
    generation: int = 1,
    **spec: Any,
) -> Json:
    """An ExecutionPool; further keywords are fields of its spec."""
    metadata = {
        "name": name, "uid": uid, "generation": generation, "resourceVersion": str(version)
    }  # fmt: skip
    return an_object(names.POOL_KIND, metadata, spec, deleting=deleting, status=status)


def a_pool(**changes: Any) -> Pool:
    """What the operator reads from that body."""
    return pool_facts(a_pool_body(**changes))


def pool_settings(**changes: Any) -> Settings:
    """Settings of an operator that creates pods and nothing else."""
    return some_settings(**{"watch_namespaces": "team-a", "s3_secret": "", **changes})


class PoolWorld(World):
    """A world whose job names the pool ``warm``; no pod waits yet."""

    def __init__(
        self, settings: Settings | None = None, pool: Json | None = None, **job: Any
    ) -> None:
        given: Json = {"poolRef": {"name": "warm"}, **job}
        super().__init__(settings or pool_settings(), **given)
        self.add_pool(pool or a_pool_body())
        self.requests = ExitStack()
        self.futures: dict[str, asyncio.Future[wire.HandOver]] = {}  # by the pod's uid

    def add_pool(self, body: Json) -> None:
        """A pool is created, and the watch brings it."""
        self.kube.put(POOLS, body)
        self.parts.pools.put_pool(copy.deepcopy(body))

    def pool(self, name: str = "warm") -> Pool:
        """A pool, as the operator knows it."""
        found = self.parts.pools.pool(f"team-a/{name}")
        assert found is not None
        return found

    def waiting_pod(self, token: str, *, age: float = 0.0, **changes: Any) -> Json:
        """A pod of the pool exists, and the watch brings it; returns it."""
        body = self.parts.claims.templates.pod(self.pool(), token)
        body["metadata"] |= {
            "uid": f"pod-{token}",
            "resourceVersion": "50",
            "creationTimestamp": time_text(-age),
        }
        self.kube.put(PODS, merge_patch(body, changes))
        return self.watch_pod(body["metadata"]["name"])

    def watch_pod(self, name: str) -> Json:
        """The watch brings a pod; returns it."""
        body = copy.deepcopy(self.kube.objects[f"{PODS}/{name}"])
        self.parts.handlers.on_pod("MODIFIED", body)
        return body

    def ask(self, pod_uid: str) -> asyncio.Future[wire.HandOver]:
        """The agent of a pod asks for its task; needs a running loop."""
        future = self.requests.enter_context(self.parts.agents.request(pod_uid))
        self.futures[pod_uid] = future
        return future

    def ready_pod(self, token: str, **changes: Any) -> asyncio.Future[wire.HandOver]:
        """A pod waits, and its agent asks."""
        return self.ask(self.waiting_pod(token, **changes)["metadata"]["uid"])

    def pod(self, token: str) -> Json:
        """The pod as the API server has it."""
        found: Json = self.kube.objects[f"{PODS}/{names.pool_pod('warm', token)}"]
        return found

    def owner(self, token: str) -> str:
        """The uid of the job that has a pod; empty if it waits."""
        return pod_identity.job_uid(self.pod(token))
