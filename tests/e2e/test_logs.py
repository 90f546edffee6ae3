"""The lines of one job in the logs of all programs, found by its requestId, in JSON and in text."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from nanogrid import names
from support.kubectl import Namespace, eventually, inline, kubectl, kubectl_json
from support.log_lines import missing, parsed
from support.release import IN_RELEASE, OPERATOR, leader_pod, settled_lease, wait_for_operator

pytestmark = pytest.mark.alone  # it restarts the operator

FORMAT = "NANOGRID_LOG_FORMAT"
PRINTED = '{"requestId": "forged", "message": "from the user"}'


def form() -> str:
    """How the operator logs now."""
    (container,) = kubectl_json(*IN_RELEASE, "get", OPERATOR)["spec"]["template"]["spec"][
        "containers"
    ]
    found = {each["name"]: each.get("value", "") for each in container["env"]}
    return str(found[FORMAT])


def log_as(style: str) -> None:
    """Let the operator, and the pods that it creates, log in this form."""
    kubectl(*IN_RELEASE, "set", "env", OPERATOR, f"{FORMAT}={style}")
    wait_for_operator()
    settled_lease(kubectl_json(*IN_RELEASE, "get", OPERATOR)["spec"]["replicas"])


@pytest.fixture(scope="module")
def restored() -> Iterator[None]:
    """The form is the release's again at the end."""
    before = form()
    yield
    log_as(before)


def lines_about(text: str, request_id: str, style: str) -> list[dict[str, Any]]:
    """The lines of one job in the log of a program, each of whose lines has the form."""
    return [line for line in parsed(text, style) if line.get("requestId") == request_id]


@pytest.mark.parametrize("style", ["json", "text"])
def test_the_lines_of_a_job_are_found_by_its_request_id(
    style: str, namespace: Namespace, restored: None
) -> None:
    log_as(style)
    request_id = f"logs-{style}-{namespace.name}"
    status = namespace.run(inline(f"logs-{style}", f"print({PRINTED!r})", requestId=request_id))
    assert status["phase"] == "Succeeded", status["message"]
    uid = namespace.get(f"logs-{style}")["metadata"]["uid"]
    pod = namespace.only_pod(f"logs-{style}")["metadata"]["name"]

    def of_operator() -> list[dict[str, Any]]:
        leader = leader_pod(settled_lease())
        text = kubectl(*IN_RELEASE, "logs", leader, "--tail=-1")
        found = lines_about(text, request_id, style)
        return found if any("the job has ended" in line["message"] for line in found) else []

    lines = eventually("the operator's lines", of_operator)
    agent = namespace.kubectl("logs", pod, "-c", names.CONTAINER_AGENT)
    of_agent = lines_about(agent, request_id, style)
    assert {"agent-listening", "execution-end", "report-delivered"} <= {
        line["message"] for line in of_agent
    }
    assert len(of_agent) == len(parsed(agent, style)), "all lines of the agent are about its job"
    for line in (*lines, *of_agent):
        assert missing(line) == [], line
        assert (line["namespace"], line["uid"]) == (namespace.name, uid)
        assert line["attempt"] == 0

    user = namespace.kubectl("logs", pod, "-c", names.CONTAINER_SANDBOX)
    assert json.loads(user) == json.loads(PRINTED), "the user's output is as it was"
