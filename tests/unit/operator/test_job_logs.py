"""Every line that the operator logs about a job has the job's fields, in whatever happens to it."""

import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from nanogrid import names
from nanogrid.log_line import JOB_FIELDS
from nanogrid.logs import LineFormatter
from nanogrid.types import Json
from nanogrid_operator.watch.cache import JobCache
from nanogrid_operator.watch.kopf_logs import KopfFields
from support.builders import (
    JOB_UID,
    a_failed_result,
    a_job_body,
    a_pod_body,
    a_report,
    a_result,
    ended,
    running,
    some_settings,
)
from support.function_builders import a_labelled_run
from support.log_lines import missing, of_json
from support.operator_fakes import PODS
from support.operator_world import World, run_for

REQUEST = "order-1"
# About the process, not about a job. A line of a job begins with none of these.
OF_PROCESS = ("resync: ", "cannot list ", "resync failed")


class Lines(logging.Handler):
    """All lines of the operator, as JSON."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(LineFormatter("json", "operator"))
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text += f"{self.format(record)}\n"

    @property
    def of_jobs(self) -> list[dict[str, Any]]:
        """The lines about jobs."""
        lines = of_json(self.text)
        return [line for line in lines if not line["message"].startswith(OF_PROCESS)]


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler, logger = Lines(), logging.getLogger("nanogrid")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.setLevel(before)
    logger.removeHandler(handler)


def with_pod(**job: Any) -> World:
    """A job whose pod runs."""
    world = World(requestId=REQUEST, **job)
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    return world


async def success() -> None:
    world = with_pod()
    world.push(a_report(a_result(request_id=REQUEST)))
    await world.work()


async def start() -> None:
    await World(requestId=REQUEST).work()


async def api_server_away() -> None:
    world = World(requestId=REQUEST)
    world.kube.refuse("POST", 500)
    await world.work(5)
    for code in (409, 500):
        world = with_pod()
        world.kube.refuse("PATCH", code)
        world.push(a_report(a_result(request_id=REQUEST)))
        await world.work(5)


async def failure_and_next_attempt() -> None:
    world = with_pod(backoffLimit=2)
    world.push(a_report(a_failed_result(request_id=REQUEST)))
    await world.work(5)


async def redis_away() -> None:
    world = with_pod()
    world.redis.up = False
    world.push(a_report(a_result(request_id=REQUEST)))
    await world.work(60)
    world.redis.up = True
    await world.work(60)


async def s3_away() -> None:
    world = with_pod()
    world.s3.up = False
    report = replace(a_report(a_result(request_id=REQUEST)), stored=False)
    world.push(report)
    await world.work(2)
    await world.store_late(60)
    world.kube.refuse("PATCH", 500)
    world.s3.up = True
    await world.store_late(60)


async def result_only_in_s3() -> None:
    world = World(requestId=REQUEST)
    world.s3.up = False
    world.see_pod(phase="Failed", agent=ended(1), sandbox=ended(0))
    await world.work(700)


async def cancelled() -> None:
    await World(requestId=REQUEST, cancel=True).work()


async def invalid() -> None:
    await World(requestId=REQUEST, runtime={"image": "bad image"}).work()


async def no_webhook() -> None:
    # Nothing listens on the address.
    settings = some_settings(
        watch_namespaces="team-a", s3_secret="", webhook_url="http://127.0.0.1:9/hook"
    )
    world = World(settings, requestId=REQUEST)
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    world.push(a_report(a_result(request_id=REQUEST)))
    await world.work(2)
    world.parts.webhooks.offer(JOB_UID)
    await run_for(5, world.parts.webhooks.run())
    await world.webhook_client.close()


async def deleted_after_its_time_to_live() -> None:
    world = with_pod(ttlSecondsAfterFinished=1)
    world.push(a_report(a_result(request_id=REQUEST)))
    await world.work(2)
    world.now += 100
    await world.work(5)


async def no_event() -> None:
    world = with_pod()
    world.kube.refuse("EVENT", 500)
    world.push(a_report(a_failed_result(request_id=REQUEST)))
    await world.work(2)


async def orphan() -> None:
    world = World(requestId=REQUEST)
    pod = a_pod_body(job_uid="uid-of-a-deleted-job")
    pod["metadata"] |= {"name": "lost-0", "ownerReferences": []}
    pod["metadata"]["labels"] |= {
        "app.kubernetes.io/managed-by": names.MANAGED_BY,
        names.LABEL_JOB: "sales",
    }
    world.kube.put(PODS, pod)
    world.now += 10_000
    await world.resync()


async def missed_pod() -> None:
    world = World(requestId=REQUEST)
    await world.parts.resync._recover_missed_pod("team-a", "sales-0", "sales-0", JOB_UID)


async def malformed_run() -> None:
    job = a_labelled_run()
    job["status"]["result"] = "text"
    World().parts.function_runs.offer(job)


LIVES: list[tuple[Callable[[], Awaitable[None]], str]] = [
    (start, "PodCreated"),
    (success, "the job has ended"),
    (api_server_away, "retry in "),
    (failure_and_next_attempt, "Retrying"),
    (redis_away, "delivery: retry in "),
    (s3_away, "outbox: retry in "),
    (result_only_in_s3, "S3: "),
    (cancelled, "Cancelled"),
    (invalid, "InvalidSpec"),
    (no_webhook, "webhook: "),
    (deleted_after_its_time_to_live, "deleted, its time to live is over"),
    (no_event, "no Event "),
    (orphan, "orphan pod "),
    (missed_pod, "is gone, and was missed"),
    (malformed_run, "the run is not counted"),
]


@pytest.mark.parametrize(("life", "shown"), LIVES, ids=lambda value: getattr(value, "__name__", ""))
async def test_each_line_about_a_job_has_its_fields(
    life: Callable[[], Awaitable[None]], shown: str, lines: Lines
) -> None:
    await life()

    found = lines.of_jobs
    assert [line for line in found if shown in line["message"]], [f["message"] for f in found]
    for line in found:
        assert missing(line) == [], line
        assert (line["namespace"], line["component"]) == ("team-a", "operator")
        assert line["job"], line
        assert isinstance(line["attempt"], int)
        if life not in (orphan, malformed_run):
            assert (line["job"], line["uid"]) == ("sales", JOB_UID)
            assert line["requestId"] == REQUEST, line
        for text in (JOB_UID, "job sales", "team-a/sales"):
            assert text not in line["message"], "the fields say which job it is"


async def test_the_lines_of_each_attempt_have_its_number(lines: Lines) -> None:
    world = with_pod(backoffLimit=2)
    world.push(a_report(a_failed_result(request_id=REQUEST)))
    await world.work(5)
    world.now += 100  # the pause between two attempts is over
    await world.work(5)

    attempts = {line["message"]: line["attempt"] for line in lines.of_jobs}
    assert (attempts["Retrying"], attempts["PodCreated"]) == (0, 1)


def test_a_settled_job_keeps_what_logs_show() -> None:
    cache = JobCache()
    status: Json = {
        "phase": "Failed",
        "completionTime": "2025-10-09T08:54:00Z",
        "delivery": {"state": "Delivered"},
        "result": {"attempt": 2, "stdout": "x" * 1000},
    }
    cache.put_job(a_job_body(status=status, requestId=REQUEST))

    fields = cache.log_fields(JOB_UID)
    assert list(fields) == list(JOB_FIELDS)
    assert (fields["requestId"], fields["attempt"]) == (REQUEST, 2)


def test_lines_of_kopf_about_a_job_have_its_fields() -> None:
    world = World(requestId=REQUEST)
    record = logging.LogRecord("kopf.objects", logging.ERROR, "", 0, "failed", None, None)
    record.k8s_ref = {"kind": names.KIND, "name": "n", "namespace": "team-a", "uid": JOB_UID}

    assert KopfFields(world.cache.log_fields).filter(record)

    (line,) = of_json(LineFormatter("json").format(record))
    assert missing(line) == []
    assert (line["job"], line["uid"], line["requestId"]) == ("sales", JOB_UID, REQUEST)


def test_a_line_about_an_unknown_job_has_its_uid() -> None:
    assert JobCache().log_fields("unknown") == {"uid": "unknown"}
    assert JobCache().log_fields_of_pod("unknown") == {}
