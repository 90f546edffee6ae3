"""A job that the gateway starts is one connected trace; its code and a session's code are in it.

The release sends to a collector in a pod, which prints what it gets.
"""

import http.client
import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from e2e.sessions import SMALL, start
from examples.gateway_client import Gateway
from nanogrid import names
from nanogrid.traces.context import derived_trace_id
from nanogrid.types import Json
from support.gateways import DEPLOYMENT, a_token, forwarded, uploaded
from support.helm import CHART, helm
from support.kubectl import Namespace, eventually, inline, kubectl, kubectl_json
from support.network_pods import pod
from support.otlp_receiver import ReceivedSpan, from_line
from support.release import IN_RELEASE, OPERATOR, RELEASE, RELEASE_NAMESPACE, wait_for_operator
from support.sessions import router, session

pytestmark = pytest.mark.alone

PORT = 4318
UPGRADE_SECONDS = 300
REQUEST_SECONDS = 120
PROGRAM = Path(__file__).parent.parent / "support/otlp_receiver.py"
PRINTS = b"""\
import os
os.makedirs("output", exist_ok=True)
open("output/a.txt", "w").write("a")
print(os.environ.get("TRACEPARENT"), os.environ.get("TRACESTATE"))
"""
STAGES = {"queue", "attempt", "start", "sync", "launch", "execution", "upload", "delivery"}


class Collector:
    """The pod of the collector."""

    def __init__(self, name: str) -> None:
        self.name = name

    def spans(self) -> list[ReceivedSpan]:
        """What it has received so far."""
        lines = kubectl(*IN_RELEASE, "logs", self.name, "--tail=-1").splitlines()
        return [from_line(line) for line in lines if line.startswith("{")]

    def trace(
        self, trace_id: str, complete: Callable[[list[ReceivedSpan]], bool]
    ) -> list[ReceivedSpan]:
        """The spans of a trace, once it is complete."""

        def found() -> list[ReceivedSpan] | None:
            spans = [s for s in self.spans() if s.trace_id == trace_id]
            return spans if complete(spans) else None

        spans: list[ReceivedSpan] = eventually(f"trace {trace_id} is complete", found)
        return spans


def upgrade(tracing: Json) -> None:
    """Give the release these values of tracing; returns when all its pods have them."""
    done = helm(
        "upgrade", RELEASE, CHART, "--namespace", RELEASE_NAMESPACE, "--reuse-values", "--wait",
        f"--timeout={UPGRADE_SECONDS}s", values={"tracing": tracing},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    wait_for_operator()
    kubectl(*IN_RELEASE, "rollout", "status", DEPLOYMENT, "--timeout=180s")


@pytest.fixture(scope="module")
def collector(cluster: None) -> Iterator[Collector]:
    """A collector, to which the release sends."""
    name = f"e2e-collector-{uuid.uuid4().hex[:8]}"
    running = kubectl_json(*IN_RELEASE, "get", OPERATOR)["spec"]["template"]["spec"]
    image = running["containers"][0]["image"]
    manifest = pod(name, image, "", PROGRAM.read_text(encoding="utf-8"), str(PORT))
    del manifest["spec"]["nodeSelector"]
    manifest["metadata"]["namespace"] = RELEASE_NAMESPACE
    manifest["spec"]["containers"][0]["readinessProbe"] = {"tcpSocket": {"port": PORT}}
    try:
        kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
        kubectl(*IN_RELEASE, "wait", f"pod/{name}", "--for=condition=Ready", "--timeout=180s")
        address = kubectl_json(*IN_RELEASE, "get", "pod", name)["status"]["podIP"]
        host = f"[{address}]" if ":" in address else address
        upgrade({"enabled": True, "endpoint": f"http://{host}:{PORT}", "samplingRatio": 1})
        yield Collector(name)
    finally:
        upgrade({"enabled": False, "endpoint": ""})
        kubectl(*IN_RELEASE, "delete", "pod", name, "--ignore-not-found", "--wait=false")


def a_parent() -> tuple[str, str, str]:
    """A header of a caller, with its ids of trace and span."""
    trace_id, span_id = uuid.uuid4().hex, uuid.uuid4().hex[:16]
    return f"00-{trace_id}-{span_id}-01", trace_id, span_id


def post(url: str, token: str, path: str, body: Json, headers: dict[str, str]) -> Any:
    """The JSON of an answer."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=REQUEST_SECONDS)
    sent = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", **headers}
    try:
        connection.request("POST", parts.path + path, json.dumps(body).encode(), sent)
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


def stages(spans: list[ReceivedSpan]) -> set[str]:
    return {s.name.rpartition("nanogrid.job.")[2] for s in spans if "nanogrid.job." in s.name}


def has_job(spans: list[ReceivedSpan]) -> bool:
    """Whether a job has ended and its result is delivered: these come last."""
    return {"nanogrid.job", "nanogrid.job.delivery"} <= {span.name for span in spans}


def parents_outside(spans: list[ReceivedSpan]) -> set[str]:
    """The parents that are not in the trace; one, if all spans are connected."""
    known = {span.span_id for span in spans}
    return {span.parent for span in spans if span.parent not in known}


def test_a_run_over_http_is_one_trace_with_all_stages(collector: Collector) -> None:
    header, trace_id, span_id = a_parent()
    with (
        a_token() as token,
        forwarded(f"svc/{RELEASE}-gateway") as url,
        uploaded(Gateway(url, token), PRINTS) as function,
    ):
        headers = {"traceparent": header, "tracestate": "e2e=1"}
        body = {"functionId": function, "inputData": 1, "wait": 60}
        result = post(url, token, "/run", body, headers)
        spans = collector.trace(
            trace_id, lambda s: has_job(s) and "POST /run" in {x.name for x in s}
        )

    by_name = {span.name: span for span in spans}
    assert result["status"] == "SUCCESS", result
    assert stages(spans) == STAGES
    assert parents_outside(spans) == {span_id}
    assert {s.service for s in spans} == {"nanogrid-gateway", "nanogrid-operator"}
    assert by_name["nanogrid.job"].parent == by_name["POST /run"].span_id
    assert {s.error for s in spans} == {""}
    execution = by_name["nanogrid.job.execution"]
    # The code has seen the id of the span that the operator sent after its end.
    assert result["stdout"] == f"00-{trace_id}-{execution.span_id}-01 e2e=1\n"
    job, attempt = by_name["nanogrid.job"], by_name["nanogrid.job.attempt"]
    assert job.attributes["faas.name"] == function
    assert job.start <= attempt.start <= execution.start <= execution.end <= job.end
    assert by_name["nanogrid.job.upload"].attributes["nanogrid.output.files"] == 1


def test_a_job_of_kubectl_that_is_retried_and_fails(
    collector: Collector, namespace: Namespace
) -> None:
    header, trace_id, span_id = a_parent()
    code = "import os, sys\nprint(os.environ['TRACEPARENT'])\nsys.exit(3)"
    manifest = inline("retried", code, backoffLimit=1)
    manifest["metadata"]["annotations"] = {names.ANNOTATION_TRACEPARENT: header}
    namespace.apply(manifest)
    status = namespace.finished("retried")
    spans = collector.trace(trace_id, has_job)

    attempts = [s for s in spans if s.name == "nanogrid.job.attempt"]
    executions = {s.attributes["process.exit.code"] for s in spans if s.name.endswith("execution")}
    root = next(s for s in spans if s.name == "nanogrid.job")
    last = max((s for s in spans if s.name.endswith("execution")), key=lambda s: s.start)
    assert [s.error for s in attempts] == ["NonZeroExit"] * 2
    assert executions == {3}
    assert (root.error, root.parent) == ("NonZeroExit", span_id)
    assert [attributes["nanogrid.reason"] for _, _, attributes in root.events] == ["NonZeroExit"]
    assert parents_outside(spans) == {span_id}
    assert status["result"]["stdout"] == f"00-{trace_id}-{last.span_id}-01\n"


def test_a_job_without_a_parent_has_a_trace_of_its_own(
    collector: Collector, namespace: Namespace
) -> None:
    namespace.apply(inline("alone", "import os\nprint(os.environ['TRACEPARENT'])"))
    status = namespace.finished("alone")
    trace_id = derived_trace_id(namespace.get("alone")["metadata"]["uid"])
    spans = collector.trace(trace_id, has_job)

    assert parents_outside(spans) == {""}
    assert status["result"]["stdout"].startswith(f"00-{trace_id}-")


def test_an_execution_of_a_session_is_in_the_callers_trace(
    collector: Collector, namespace: Namespace
) -> None:
    header, trace_id, span_id = a_parent()
    with router() as url:
        caller, path, _ = start(namespace, url, session("traced", resources=SMALL))
        code = {"code": "import os\nprint(os.environ['TRACEPARENT'])"}
        answer = post(url, caller.token, f"{path}/execute", code, {"traceparent": header})
        invalid = post(url, caller.token, f"{path}/execute", code, {"traceparent": "nonsense"})
        spans = collector.trace(trace_id, lambda found: len(found) >= 2)

    server = next(s for s in spans if s.kind == "SERVER")
    client = next(s for s in spans if s.kind == "CLIENT")
    assert (server.service, server.parent) == ("nanogrid-router", span_id)
    assert client.parent == server.span_id
    assert answer["stdout"] == f"00-{trace_id}-{client.span_id}-01\n"
    assert trace_id not in invalid["stdout"]
