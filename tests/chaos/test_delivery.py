"""Redis stopped, operator killed, pods deleted: each job has one result, delivered once."""

import json
import time
import uuid
from functools import partial

from chaos.labfixtures import checked_ledger
from chaos.release import RedisSwitch
from chaos.results import stored_result
from scripts.devaccess import dev_access
from support.kubectl import Namespace, condition, eventually, in_redis, in_stream, inline
from support.release import kill_operator


def delivered(namespace: Namespace, name: str) -> bool:
    """Whether the status says that Redis has the job's result."""
    return bool(condition(namespace.status(name), "ResultDelivered")["status"] == "True")


def test_stopped_redis_is_reported_and_delivery_follows_its_return(
    namespace: Namespace, redis_switch: RedisSwitch, request_id: str
) -> None:
    redis_switch.stop()
    status = namespace.run(inline("patient", "print('kept')", requestId=request_id))

    assert (status["phase"], status["reason"]) == ("Succeeded", "Completed")
    delivery = condition(status, "ResultDelivered")
    assert (delivery["status"], delivery["reason"]) == ("False", "RedisUnavailable")

    redis_switch.start()
    began = time.monotonic()
    eventually("delivered", lambda: delivered(namespace, "patient"))
    print(f"delivered {time.monotonic() - began:.1f} s after Redis was back")
    with dev_access() as dev:
        assert json.loads(in_redis(dev, request_id))["stdout"] == "kept\n"
        assert len(in_stream(dev, request_id)) == 1


def test_operator_restart_while_redis_is_stopped_loses_nothing(
    namespace: Namespace, redis_switch: RedisSwitch, request_id: str
) -> None:
    redis_switch.stop()
    namespace.run(inline("outbox", "print('x' * 40_000)", requestId=request_id))
    kill_operator()

    redis_switch.start()
    eventually("delivered", lambda: delivered(namespace, "outbox"))
    with dev_access() as dev:
        # The status keeps the end of the text; the full text comes from S3.
        assert json.loads(in_redis(dev, request_id))["stdout"] == "x" * 40_000 + "\n"
        assert len(in_stream(dev, request_id)) == 1


def test_operator_killed_repeatedly_while_jobs_run(namespace: Namespace) -> None:
    run = uuid.uuid4().hex[:8]
    count = 24
    jobs = [
        inline(
            f"j{n}",
            f"import time; time.sleep({n % 5}); print({n})",
            requestId=f"{run}-{n}",
            # Small, so that agents that wait for the operator leave it room on the nodes.
            resources={"requests": {"cpu": "10m", "memory": "64Mi"}},
        )
        for n in range(count)
    ]
    with checked_ledger(namespace):  # each job has one pod, one end, one delivery
        namespace.apply(*jobs)
        for _ in range(4):
            wanted = min(succeeded(namespace) + 1, count)
            kill_operator()
            eventually("progress", partial(enough, namespace, wanted))
        for n in range(count):
            assert namespace.finished(f"j{n}")["result"]["stdout"] == f"{n}\n"


def enough(namespace: Namespace, wanted: int) -> bool:
    """Whether at least ``wanted`` jobs of the namespace have succeeded."""
    return succeeded(namespace) >= wanted


def succeeded(namespace: Namespace) -> int:
    """The number of succeeded jobs in the namespace."""
    args = ("get", "ej", "--field-selector=status.phase=Succeeded", "-o", "name")
    return len(namespace.kubectl(*args).split())


def test_pod_deleted_by_force_ends_the_job_with_a_reason(
    namespace: Namespace, request_id: str
) -> None:
    namespace.apply(inline("torn", "import time; time.sleep(600)", requestId=request_id))
    eventually("the code runs", lambda: namespace.sandbox("torn").get("running"))
    pod = namespace.only_pod("torn")

    namespace.kubectl("delete", "pod", pod["metadata"]["name"], "--force", "--grace-period=0")

    status = namespace.finished("torn")
    assert status["phase"] == "Failed"
    assert status["reason"] in ("PodLost", "Terminated")
    assert len(namespace.pods("torn")) == 0, "no second pod starts"
    with dev_access() as dev:
        assert len(in_stream(dev, request_id)) == 1
    assert stored_result(namespace, request_id)["reason"] == status["reason"]
