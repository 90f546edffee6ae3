"""The agent's report: an operator that does not accept it, and reports that are not valid."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from chaos.lab.faultproxy import FaultProxy
from chaos.lab.faults import Answer, Call, Delay, Effect, Refuse
from chaos.lab.laboratory import Laboratory
from chaos.labfixtures import lab_in_namespace
from nanogrid import names, wire
from nanogrid.tenancy import PLATFORM_STREAM
from nanogrid.types import Json
from support.kubectl import Namespace, eventually, inline
from support.s3_server import free_port

READ_TOKEN = f"print(open({names.TOKEN_FILE!r}).read())"


@dataclass
class Bench:
    """A laboratory whose agents reach the operator through the fault proxy ``posts``."""

    lab: Laboratory
    namespace: Namespace
    posts: FaultProxy

    def token(self, job: str) -> str:
        """The token of a job's agent, read inside the agent's container."""
        pod = self.namespace.only_pod(job)["metadata"]["name"]
        command = ("--", "python3", "-c", READ_TOKEN)
        return self.namespace.kubectl("exec", pod, "-c", names.CONTAINER_AGENT, *command).strip()

    def post(self, report: wire.Report, token: str) -> int:
        """POST a report directly to the operator; returns the HTTP status."""
        url = f"http://127.0.0.1:{self.lab.operators[0].port}{names.RESULTS_PATH}"
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        request = urllib.request.Request(url, wire.dumps(report).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                status: int = answer.status
                return status
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    def report(self, job: str, exit_code: int, stdout: str) -> wire.Report:
        """A valid report for attempt 0 of the job."""
        found = self.namespace.get(job)
        uid = found["metadata"]["uid"]
        success = exit_code == 0
        result = wire.blank_result(
            request_id=job,
            function_id=None,
            status=wire.STATUS_SUCCESS if success else wire.STATUS_FAILED,
            reason="Completed" if success else "NonZeroExit",
            job=wire.JobRef(namespace=self.namespace.name, name=job, uid=uid),
            attempt=0,
            message="",
        )
        return wire.Report(attempt=0, result=replace(result, exit_code=exit_code, stdout=stdout))

    def entries(self, name: str) -> list[Json]:
        """The results of a request in Redis' stream."""
        found = self.lab.redis.client().xrange(PLATFORM_STREAM)
        return [json.loads(f["result"]) for _, f in found if f["requestId"] == name]


@pytest.fixture(scope="module")
def bench(lab_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with lab_in_namespace("lab-reports", tmp_path_factory.mktemp("reports")) as lab:
        port = free_port()
        with FaultProxy(f"http://127.0.0.1:{port}", host=lab.address) as posts:
            url = f"{posts.url}{names.RESULTS_PATH}"
            operator = lab.operator(NANOGRID_PORT=str(port), NANOGRID_RESULTS_URL=url)
            operator.start().wait_ready()
            yield Bench(lab, Namespace(lab.namespace), posts)
            operator.kill()


def is_post(call: Call) -> bool:
    return call.method == "POST"


@pytest.mark.parametrize(
    ("effect", "times", "name"),
    [
        (Answer(503), 3, "unavailable"),
        (Refuse(), 3, "refusing"),
        (Delay(7), 1, "slow"),
        (Answer(429), 2, "too-many"),
        (Answer(401), 1, "unauthorized"),
        (Answer(403), None, "forbidden"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_operator_does_not_accept_the_report(
    bench: Bench, effect: Effect, times: int | None, name: str
) -> None:
    fault = bench.posts.fault(is_post, effect, times)
    began = time.monotonic()
    status = bench.namespace.run(inline(name, "print('kept')", requestId=name))
    print(f"\n{name}: {fault.hits} reports failed, Finished after {time.monotonic() - began:.1f} s")
    fault.remove()
    assert fault.hits == (1 if times is None else times)
    assert (status["phase"], status["result"]["stdout"]) == ("Succeeded", "kept\n")
    assert len(bench.entries(name)) == 1


def test_neither_operator_nor_s3_answers_when_the_code_ends(bench: Bench) -> None:
    operator, fault = bench.lab.operators[0], bench.posts.fault(is_post, Answer(403))
    bench.namespace.apply(inline("alone", "import time; time.sleep(2); print('kept')",
                                 requestId="alone"))  # fmt: skip
    eventually("the code runs", lambda: bench.namespace.sandbox("alone").get("running"))
    operator.kill()
    bench.lab.s3.down()
    try:
        eventually("the agent gave up", lambda: _ended(bench, "alone"))
        operator.start()
        status = bench.namespace.finished("alone")
    finally:
        bench.lab.s3.up()
        fault.remove()
    assert (status["phase"], status["result"]["stdout"]) == ("Succeeded", "kept\n")
    assert status["result"]["exitCode"] == 0
    assert len(bench.entries("alone")) == 1


def _ended(bench: Bench, job: str) -> bool:
    pod = bench.namespace.only_pod(job)
    return bool(pod["status"]["phase"] == "Succeeded")


@pytest.mark.slow
def test_the_operator_is_stopped_for_half_a_minute(bench: Bench) -> None:
    operator = bench.lab.operators[0]
    bench.namespace.apply(inline("away", "import time; time.sleep(1); print('kept')",
                                 requestId="away"))  # fmt: skip
    eventually("the code runs", lambda: bench.namespace.sandbox("away").get("running"))
    operator.kill()
    before, killed = len(bench.posts.calls), time.monotonic()
    eventually("half a minute", lambda: time.monotonic() - killed > 30, 40)
    operator.start().wait_ready()
    back = time.monotonic()
    status = bench.namespace.finished("away")
    tries = len(bench.posts.calls) - before
    print(f"\n{tries} tries, Finished {time.monotonic() - back:.1f} s after the operator was ready")
    assert (status["phase"], status["result"]["stdout"]) == ("Succeeded", "kept\n")
    assert tries < 20
    assert len(bench.entries("away")) == 1


def test_reports_after_the_first_change_nothing(bench: Bench) -> None:
    bench.namespace.apply(inline("forged", "import time; time.sleep(600)", requestId="forged"))
    eventually("the code runs", lambda: bench.namespace.sandbox("forged").get("running"))
    token = bench.token("forged")
    first = bench.report("forged", 0, "first\n")
    other = bench.report("forged", 1, "other\n")

    assert bench.post(first, "not-a-token") == 401
    foreign = replace(first, result=replace(first.result, job=replace(first.result.job, uid="x")))
    assert bench.post(foreign, token) in (403, 503)
    assert "completionTime" not in bench.namespace.status("forged"), (
        "a refused report does not end the job"
    )
    assert bench.post(first, token) == 202
    status = bench.namespace.finished("forged")
    assert bench.post(first, token) in (202, 409)
    assert bench.post(other, token) in (202, 409)

    again = bench.namespace.run(inline("after", "print(1)", requestId="after"))
    assert again["phase"] == "Succeeded"
    assert bench.namespace.status("forged") == status
    assert [entry["stdout"] for entry in bench.entries("forged")] == ["first\n"]


def test_a_report_that_differs_from_the_kubelets_exit_code_is_a_failure(bench: Bench) -> None:
    fault = bench.posts.fault(is_post, Answer(503))
    bench.namespace.apply(inline("lied", "raise SystemExit(3)", requestId="lied"))
    eventually("the code ended", lambda: bench.namespace.sandbox("lied").get("terminated"))
    assert bench.post(bench.report("lied", 0, "success\n"), bench.token("lied")) == 202
    status = bench.namespace.finished("lied")
    fault.remove()
    assert (status["phase"], status["reason"]) == ("Failed", "ResultMismatch")
    assert "3" in status["message"]
    assert [entry["reason"] for entry in bench.entries("lied")] == ["ResultMismatch"]

    def stored() -> bool:
        found = json.loads(bench.lab.s3_server.get(names.result_object("lied")))
        return bool(found["reason"] == "ResultMismatch")

    eventually("S3 has it, too", stored)
