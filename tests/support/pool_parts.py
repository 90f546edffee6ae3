"""The operator's parts for pools, for tests whose namespaces have none."""

from nanogrid_operator.parts.pools import Waiting, build_waiting
from nanogrid_operator.server.tasks import TaskApi
from nanogrid_operator.workqueue import WorkQueue
from support.builders import RESULT_KEY_MASTER


def no_pools() -> Waiting:
    """An operator that has observed no pool."""
    return build_waiting(RESULT_KEY_MASTER)


def no_tasks(queue: WorkQueue) -> TaskApi:
    """Its answers to agents of pools' pods, of which it knows none."""
    waiting = no_pools()

    async def ignore(pod_uid: str) -> None:
        raise AssertionError(f"no pod has a task, and {pod_uid} did not take one")

    return TaskApi(
        pools=waiting.pools,
        agents=waiting.agents,
        queue=queue,
        task_of=lambda pod_uid: None,
        silent=ignore,
    )
