"""Logs of the EKS package: JSON, with fields that CloudWatch Logs Insights finds."""

import json
import re
from pathlib import Path

from chart.eks import BOTH_VALUES, containers_of, filled, render
from nanogrid.log_line import job_line_fields, log_line
from support.eks_network import EKS
from support.helm import named


def test_fields_of_json_lines_are_fields_of_the_events_in_cloudwatch() -> None:
    """What the two parsers of Fargate's log router make of a line of the container runtime."""
    namespace, config = filled("logging.yaml")
    assert namespace["metadata"]["labels"] == {"aws-observability": "enabled"}
    name = (config["metadata"]["namespace"], config["metadata"]["name"])
    assert name == ("aws-observability", "aws-logging")

    crio, json_line = _sections(config["data"]["parsers.conf"])
    first, *others = filters = _sections(config["data"]["filters.conf"])
    assert (first["Parser"], first["Match"]) == (crio["Name"], "*")
    assert {each["Parser"] for each in others} == {json_line["Name"]}
    assert [each["Match"] for each in others] == [
        f"*_nanogrid-system_{component}-*"
        for component in ("operator", "gateway", "router", "egress")
    ]
    assert {each["Key_name"] for each in filters} == {"log"}
    assert "nanogrid-system" not in (EKS / "logging.yaml").read_text(), "it is the stack's"
    # Otherwise a line that is no JSON loses the name of its stream, and so does one that is.
    assert json_line["Format"] == "json"
    assert {each["Reserve_Data"] for each in others} == {"On"}

    own = log_line(
        "json", seconds=0, level="INFO", component="agent", logger="nanogrid.agent",
        message="sync-end", fields=job_line_fields("team-a", "sales", "u", "order-1", 0),
    )  # fmt: skip
    match = re.fullmatch(
        crio["Regex"].replace("(?<", "(?P<"), f"2026-11-30T21:34:23.123456789Z stdout F {own}"
    )
    assert match is not None
    event = json.loads(match["log"])
    query = re.search(r"^fields (.*)\n\| filter @message", Path("docs/eks.md").read_text(), re.M)
    assert query is not None
    for field in ("component", "level", "message"):
        assert field in query[1]
        assert field in event
    assert (event["requestId"], match["stream"]) == ("order-1", "stdout")


def _sections(text: str) -> list[dict[str, str]]:
    """The sections of a file of Fluent Bit."""
    found: list[dict[str, str]] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        if line.startswith("["):
            found.append({})
        else:
            key, _, value = line.partition(" ")
            found[-1][key] = value.strip()
    return found


@BOTH_VALUES
def test_programs_log_json_on_eks(values: str) -> None:
    operator = named("Deployment", "nanogrid", render(values))
    env = {e["name"]: e.get("value") for e in containers_of(operator)[0]["env"]}

    assert env["NANOGRID_LOG_FORMAT"] == "json"
