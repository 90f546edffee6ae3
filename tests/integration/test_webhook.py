"""Results are POSTed to a real HTTP server that accepts, refuses, delays or redirects them."""

import asyncio
import copy
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nanogrid import wire
from nanogrid_operator.delivery.webhook_client import WebhookClient
from nanogrid_operator.delivery.webhook_queue import PER_HOST
from support.builders import (
    JOB_UID,
    a_job_body,
    a_result,
    signed,
    some_settings,
)
from support.operator_fakes import JOBS
from support.webhook_world import KEY, Outbox, Receiver, ended_job, served, settled

pytestmark = [pytest.mark.integration, pytest.mark.security]


def example() -> Callable[..., bool]:
    """The function ``verified`` in docs/webhook.md, as readers copy it."""
    text = Path("docs/webhook.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    scope: dict[str, Any] = {}
    exec(code, scope)
    found: Callable[..., bool] = scope["verified"]
    return found


async def test_a_result_arrives_once_signed_and_is_recorded() -> None:
    receiver = Receiver()
    async with ended_job(receiver, functionId="f") as outbox:
        before = (outbox.world.end, outbox.record, outbox.condition)
        async with outbox.working():
            await outbox.settled()

    assert before[0] == ("Succeeded", "Completed", "Delivered")
    assert before[1] == {"state": "Pending", "attempts": 0}
    assert before[2] == ("False", "WebhookPending")
    assert outbox.record == {"state": "Delivered", "attempts": 1, "lastStatus": 204, "message": ""}
    assert outbox.condition == ("True", "WebhookAccepted")
    ((headers, body),) = receiver.requests
    assert body.decode() == wire.dumps(signed(a_result(function_id="f")))
    assert headers["Idempotency-Key"] == JOB_UID
    assert headers["X-NanoGrid-Request-Id"] == JOB_UID
    assert headers["Content-Type"] == "application/json"


async def test_the_documented_verification_accepts_only_our_requests() -> None:
    receiver = Receiver()
    async with served(receiver) as url:
        client = WebhookClient(some_settings(webhook_key=KEY))
        await client.post(url, a_result(stdout="합계"))
        await client.close()
    ((headers, body),) = receiver.requests
    verified = example()

    assert verified(KEY.encode(), headers, body)
    assert not verified(b"another key", headers, body)
    assert not verified(KEY.encode(), headers, body + b" ")
    old = {**headers, "X-NanoGrid-Timestamp": str(int(time.time()) - 400)}
    assert not verified(KEY.encode(), old, body)


async def test_without_a_key_nothing_is_signed() -> None:
    receiver = Receiver()
    async with served(receiver) as url:
        client = WebhookClient(some_settings())
        await client.post(url, a_result())
        await client.close()

    assert "X-NanoGrid-Signature" not in receiver.requests[0][0]


async def test_temporary_errors_are_retried() -> None:
    receiver = Receiver([(503, {}), (429, {}), (408, {}), (500, 2.0), (200, {})])
    outbox = await settled(receiver, webhook_timeout_seconds=1.0)

    assert outbox.record["state"] == "Delivered"
    assert outbox.record["attempts"] == len(receiver.requests) == 5
    assert outbox.world.series("delivery_attempts_total") == {
        ("webhook", "error"): 4,
        ("webhook", "success"): 1,
    }


@pytest.mark.parametrize("code", [400, 401, 404, 410, 422])
async def test_a_permanent_refusal_is_recorded_and_not_repeated(code: int) -> None:
    receiver = Receiver([(code, {})])
    async with ended_job(receiver) as outbox, outbox.working():
        await outbox.settled()
        await outbox.world.reconcile()
        await asyncio.sleep(0.1)

    assert (outbox.record["state"], outbox.record["lastStatus"]) == ("Refused", code)
    assert outbox.condition == ("False", "WebhookRefused")
    assert len(receiver.requests) == 1


async def test_an_answer_of_any_bytes_is_recorded() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        late = b"Retry-After: Thu, 09 Oct 2025 08:54:20 +" + b"9" * 500
        writer.write(b"HTTP/1.1 404 \xff\xfe\r\nContent-Length: 0\r\n" + late + b"\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        outbox = Outbox(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook")
        await outbox.end_job()
        async with outbox.working():
            await outbox.settled()

    assert (outbox.record["state"], outbox.record["lastStatus"]) == ("Refused", 404)
    assert outbox.record["message"] == "HTTP 404 ??"


async def test_a_redirect_is_not_followed() -> None:
    receiver = Receiver([(307, {"Location": "http://169.254.169.254/latest/meta-data"})])
    outbox = await settled(receiver)

    assert (outbox.record["state"], outbox.record["lastStatus"]) == ("Refused", 307)
    assert "redirects are not followed" in outbox.record["message"]
    assert len(receiver.requests) == 1


async def test_delivery_is_given_up_after_a_day_and_recorded() -> None:
    receiver = Receiver([(503, {})])
    async with ended_job(receiver) as outbox, outbox.working():
        await outbox.until(lambda: len(receiver.requests) >= 2)
        pending = outbox.record["state"]
        outbox.world.now += 86_401
        await outbox.settled()

    assert pending == "Pending"
    assert (outbox.record["state"], outbox.record["lastStatus"]) == ("GivenUp", 503)
    assert outbox.condition == ("False", "WebhookGivenUp")


async def test_a_refused_connection_is_a_temporary_error() -> None:
    outbox = Outbox("http://127.0.0.1:1/hook")
    await outbox.end_job()
    async with outbox.working():
        await outbox.until(lambda: outbox.record["attempts"] >= 2)

    assert outbox.record["state"] == "Pending"
    assert "onnect" in outbox.record["message"]
    assert outbox.world.end == ("Succeeded", "Completed", "Delivered")


async def test_a_restart_continues_from_the_status() -> None:
    receiver = Receiver([(503, {})])
    async with ended_job(receiver) as outbox:
        async with outbox.working():
            await outbox.until(lambda: outbox.record["attempts"] >= 2)
        receiver.answers = [(200, {})]
        outbox.world.start()
        await outbox.world.resync()
        await outbox.world.reconcile()
        async with outbox.working():
            await outbox.settled()

    assert outbox.record["state"] == "Delivered"
    assert outbox.record["attempts"] >= 3


async def test_a_failed_status_write_does_not_repeat_the_post() -> None:
    receiver = Receiver()
    async with ended_job(receiver) as outbox:
        outbox.world.kube.refuse("PATCH", 409)
        outbox.world.kube.refuse("PATCH", 500)
        async with outbox.working():
            await outbox.settled()

    assert outbox.record["state"] == "Delivered"
    assert len(receiver.requests) == 1


async def test_a_slow_endpoint_delays_no_other_and_stays_within_its_limit() -> None:
    slow, quick = Receiver(), Receiver()
    slow.gate.clear()
    async with served(slow) as slow_url, served(quick) as quick_url:
        outbox = Outbox(slow_url, webhook_prefixes=quick_url)
        await outbox.end_job()
        finished = copy.deepcopy(outbox.world.kube.objects[f"{JOBS}/sales"])
        for number in range(12):
            _copy(outbox, finished, f"slow-{number}", {})
        _copy(outbox, finished, "quick", {"delivery": {"webhook": {"url": quick_url}}})
        async with outbox.working():
            await outbox.until(lambda: bool(quick.requests) and slow.active == PER_HOST)
            slow.gate.set()
            await outbox.until(lambda: len(slow.requests) == 13)

    assert slow.most_active == PER_HOST


def _copy(outbox: Outbox, body: dict[str, Any], name: str, spec: dict[str, Any]) -> None:
    body = copy.deepcopy(body)
    body["metadata"] |= {"name": name, "uid": name}
    body["status"]["result"]["job"]["uid"] = name
    body["spec"] |= spec
    outbox.world.kube.put(JOBS, body)
    outbox.world.cache.put_job(body)
    outbox.webhooks.offer(name)


async def test_a_job_with_a_forbidden_url_never_starts() -> None:
    receiver = Receiver()
    async with served(receiver) as url:
        outbox = Outbox("", webhook_prefixes="https://hooks.example.com/a")
        body = a_job_body(delivery={"webhook": {"url": url}})
        outbox.world.kube.put(JOBS, body)
        await outbox.world.resync()
        await outbox.world.reconcile()

    assert outbox.world.end == ("Failed", "InvalidSpec", "Delivered")
    assert "allowedUrlPrefixes" in outbox.world.status["message"]
    assert "webhook" not in outbox.world.status["delivery"]
    assert receiver.requests == []
    assert json.dumps(outbox.world.kube.writes).count("POST") == 0


async def test_a_job_is_kept_until_its_webhook_is_delivered() -> None:
    receiver = Receiver([(503, {})])
    async with ended_job(receiver, ttlSecondsAfterFinished=5) as outbox:
        outbox.world.now += 100
        await outbox.world.reconcile()
        kept = f"{JOBS}/sales" in outbox.world.kube.objects
        receiver.answers = [(200, {})]
        async with outbox.working():
            await outbox.settled()
        await outbox.world.reconcile()

    assert kept
    assert f"{JOBS}/sales" not in outbox.world.kube.objects
