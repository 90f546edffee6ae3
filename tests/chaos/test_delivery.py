"""Redis away, operator killed, pods deleted: each job still has one result, delivered once."""

import json
import time
import uuid
from functools import partial

from chaos.conftest import Redis, kill_operator
from chaos.labfixtures import kept
from e2e.support import Namespace, condition, eventually, in_redis, in_stream, inline
from nanogrid import names
from scripts.devaccess import dev_access

LATE_SECONDS = 10


def delivered(namespace: Namespace, name: str) -> bool:
    """Whether Redis has the job's result, as the status says."""
    return bool(condition(namespace.status(name), "ResultDelivered")["status"] == "True")


def test_redis_away_is_named_and_delivery_follows_its_return(
    namespace: Namespace, redis_switch: Redis, request_id: str
) -> None:
    redis_switch.stop()
    status = namespace.run(inline("patient", "print('kept')", requestId=request_id))

    assert (status["phase"], status["reason"]) == ("Succeeded", "Completed")
    told = condition(status, "ResultDelivered")
    assert (told["status"], told["reason"]) == ("False", "RedisUnavailable")

    redis_switch.start()
    began = time.monotonic()
    eventually("delivered", lambda: delivered(namespace, "patient"), LATE_SECONDS)
    print(f"delivered {time.monotonic() - began:.1f} s after Redis was back")
    with dev_access() as dev:
        assert json.loads(in_redis(dev, request_id))["stdout"] == "kept\n"
        assert len(in_stream(dev, request_id)) == 1


def test_operator_restart_while_redis_is_away_forgets_nothing(
    namespace: Namespace, redis_switch: Redis, request_id: str
) -> None:
    redis_switch.stop()
    namespace.run(inline("outbox", "print('x' * 40_000)", requestId=request_id))
    kill_operator()

    redis_switch.start()
    eventually("delivered", lambda: delivered(namespace, "outbox"), 60)
    with dev_access() as dev:
        # The CR keeps a tail; the whole came from S3.
        assert json.loads(in_redis(dev, request_id))["stdout"] == "x" * 40_000 + "\n"
        assert len(in_stream(dev, request_id)) == 1


def test_operator_killed_again_and_again_among_jobs(namespace: Namespace) -> None:
    run = uuid.uuid4().hex[:8]
    count = 24
    jobs = [
        inline(
            f"j{n}",
            f"import time; time.sleep({n % 5}); print({n})",
            requestId=f"{run}-{n}",
            # Agents that wait for the operator must leave it room on the nodes.
            resources={"requests": {"cpu": "10m", "memory": "64Mi"}},
        )
        for n in range(count)
    ]
    with kept(namespace):  # one pod, one end, one delivery each
        namespace.apply(*jobs)
        for _ in range(4):
            wanted = min(succeeded(namespace) + 1, count)
            kill_operator()
            eventually("progress", partial(enough, namespace, wanted), 60)
        for n in range(count):
            assert namespace.finished(f"j{n}", 120)["result"]["stdout"] == f"{n}\n"


def enough(namespace: Namespace, wanted: int) -> bool:
    """Whether so many jobs of the namespace have succeeded."""
    return succeeded(namespace) >= wanted


def succeeded(namespace: Namespace) -> int:
    """How many jobs of the namespace have succeeded."""
    words = ("get", "ej", "--field-selector=status.phase=Succeeded", "-o", "name")
    return len(namespace.kubectl(*words).split())


def test_pod_deleted_by_force_gives_a_named_end(namespace: Namespace, request_id: str) -> None:
    namespace.apply(inline("torn", "import time; time.sleep(600)", requestId=request_id))
    eventually("the code runs", lambda: namespace.sandbox("torn").get("running"))
    (pod,) = namespace.pods("torn")

    namespace.kubectl("delete", "pod", pod["metadata"]["name"], "--force", "--grace-period=0")

    status = namespace.finished("torn", 60)
    assert status["phase"] == "Failed"
    assert status["reason"] in ("PodLost", "Terminated")
    assert len(namespace.pods("torn")) == 0, "no second start"
    with dev_access() as dev:
        assert len(in_stream(dev, request_id)) == 1
        stored = dev.s3.get_object(Bucket=dev.bucket, Key=names.result_object(request_id))
        assert json.loads(stored["Body"].read())["reason"] == status["reason"]
