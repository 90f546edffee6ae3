"""Results arrive although Redis, an answer or a gateway is lost.

The gateways wait for an hour. So an answer with a result shows that the result arrived by itself.
"""

import http.client
import uuid

import pytest

from support.gateway_cluster import NAMESPACE
from support.gateway_fixtures import MARKS
from support.gateway_results import finish, result_of
from support.gateway_runs import Later, subscribed, waiting
from support.gateway_world import TIMEOUT, Gateway, World, wait_for

pytestmark = MARKS


def test_a_job_is_found_when_the_answer_to_its_creation_is_lost(
    world: World, gateway: Gateway, function: str, request_id: str
) -> None:
    world.cluster.lose_answers = 1

    answer = gateway.run(function, {"after": 0.2}, requestId=request_id)

    assert world.cluster.lose_answers == 0
    assert answer.status == 200, answer.body
    assert world.cluster.jobs(request_id) == 1


def test_the_result_of_another_job_with_the_same_id_is_ignored(
    world: World, gateway: Gateway, function: str, request_id: str
) -> None:
    stranger = {
        "metadata": {"namespace": "team-b", "name": "secret", "uid": "other"},
        "spec": {"requestId": request_id, "functionId": "f-b"},
    }
    world.operator.publish(result_of(stranger, stdout="not yours"), NAMESPACE)

    answer = gateway.run(function, {"after": 0.5, "how": "job only"}, requestId=request_id)

    assert answer.status == 200
    assert "not yours" not in answer.body.decode()
    assert answer.json["stdout"] == "합계\n"


def test_a_result_whose_delivery_hangs_is_found_at_the_end_of_the_wait(
    gateway: Gateway, function: str
) -> None:
    answer = gateway.run(function, {"after": 0, "how": "job only"}, wait=1)

    assert answer.status == 200
    assert answer.seconds >= 1


def test_without_redis_the_job_is_watched(
    world: World, gateway: Gateway, function: str, request_id: str
) -> None:
    call = subscribed(world, gateway, function, {"after": 3, "how": "job only"}, request_id)
    world.server.stop()
    try:
        answer = call.answer()
        assert answer.status == 200, answer.body
        assert answer.seconds >= 3

        fresh = gateway.run(function, {"after": 1, "how": "job only"})
        assert fresh.status == 200
        ready = gateway.call("GET", "/readyz")
        assert ready.status == 200
        assert "Redis" in ready.json["warnings"][0]
    finally:
        world.server.start()
    wait_for(lambda: not gateway.call("GET", "/readyz").json["warnings"], "Redis")
    assert gateway.run(function, {"after": 0.2, "how": "redis only"}).status == 200


def test_a_redis_that_hangs_is_detected_and_the_job_is_watched(
    world: World, function: str, request_id: str
) -> None:
    with world.gateway(redis_timeout_seconds=2) as short:
        call = subscribed(world, short, function, {"after": 3, "how": "job only"}, request_id)
        with world.server.hanging():
            answer = call.answer()
            fresh = short.run(function, {"after": 0.5, "how": "job only"})
        wait_for(lambda: not short.call("GET", "/readyz").json["warnings"], "Redis")
    print(f"\nRedis hangs: {answer.seconds - 3:.1f} s and {fresh.seconds - 0.5:.1f} s over the run")

    assert (answer.status, fresh.status) == (200, 200)
    assert answer.seconds >= 3


def test_a_redis_that_hangs_undetected_delays_a_run_by_seconds_only(
    world: World, function: str
) -> None:
    # No command was sent to Redis yet.
    with world.gateway(redis_timeout_seconds=2) as fresh, world.server.hanging():
        answer = fresh.run(function, {"after": 0.5, "how": "job only"})
    print(f"\nRedis hangs unnoticed: {answer.seconds - 0.5:.1f} s over the run")

    assert answer.status == 200


def test_a_result_published_without_a_connection_is_read_after_the_reconnection(
    world: World, gateway: Gateway, function: str, request_id: str
) -> None:
    call = subscribed(world, gateway, function, {"never": True}, request_id)
    # The job is created after the subscription.
    wait_for(lambda: world.cluster.jobs(request_id), "the job")
    with world.server.client() as client:
        client.client_kill_filter(_type="pubsub")
        world.operator.publish(result_of(world.cluster.job(request_id)))

    answer = call.answer()

    assert answer.status == 200


def test_a_killed_gateway_loses_nothing(world: World, gateway: Gateway, function: str) -> None:
    request_id = f"kill-{uuid.uuid4().hex[:8]}"
    with world.gateway() as first:
        call = subscribed(world, first, function, {"never": True}, request_id)
        first.kill()
        with pytest.raises((OSError, http.client.HTTPException)):
            call.answer()

    again = subscribed(world, gateway, function, {"never": True}, request_id)
    wait_for(lambda: world.cluster.jobs(request_id), "the job")
    world.operator.publish(result_of(world.cluster.job(request_id)))
    answer = again.answer()

    assert answer.status == 200
    assert answer.json["requestId"] == request_id
    assert world.cluster.jobs(request_id) == 1


def test_a_gateway_that_stops_answers_waiting_requests(
    world: World, gateway: Gateway, function: str
) -> None:
    request_id = f"stop-{uuid.uuid4().hex[:8]}"
    with world.gateway(grace_seconds=600) as first:
        call = subscribed(world, first, function, {"never": True}, request_id)
        first.process.terminate()
        answer = call.answer()
        assert first.process.wait(TIMEOUT) == 0

    assert answer.status == 202
    job = world.cluster.job(request_id)
    finish(world.cluster, job, result_of(job))
    assert gateway.call("GET", answer.json["links"]["self"]).status == 200


def test_without_a_free_place_the_answer_is_immediate(world: World, function: str) -> None:
    with world.gateway(max_waiting=2, storage_threads=4) as small:
        ids = [f"full-{n}-{uuid.uuid4().hex[:8]}" for n in range(2)]
        calls = [Later(small, function, {"never": True}, requestId=i) for i in ids]
        wait_for(lambda: all(waiting(world, i) for i in ids), "both subscriptions")
        wait_for(lambda: all(world.cluster.jobs(i) for i in ids), "both jobs")

        assert small.run(function, {"never": True}).status == 202

        for request_id in ids:
            world.operator.publish(result_of(world.cluster.job(request_id)))
        assert [call.answer().status for call in calls] == [200, 200]
