"""Metrics of ended jobs in CloudWatch: real operators, moto's server, and servers in trouble."""

import fnmatch
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from nanogrid.cloudwatch import client
from nanogrid.cloudwatch.client import CloudWatch, CloudWatchError
from nanogrid.cloudwatch.rules import UNITS
from nanogrid_operator.delivery.cloudwatch import put
from nanogrid_operator.delivery.cloudwatch.groups import grouped
from nanogrid_operator.delivery.cloudwatch.samples import sample_of
from nanogrid_operator.delivery.cloudwatch.series import SeriesLimit
from nanogrid_operator.settings import Settings
from support.builders import REQUIRED_ENVIRONMENT
from support.cloudwatch import (
    KEYS,
    NAMESPACE,
    REGION,
    FakeCloudWatch,
    MotoCloudWatch,
    api_environment,
    fake_cloudwatch,
    moto_cloudwatch,
)
from support.emf import document
from support.function_builders import a_run_body
from support.operators import Operators, all_ended_once, running_operators
from support.redis_server import needs_redis
from support.s3_server import free_port
from support.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore::DeprecationWarning")]
OWN = {"Cluster": "prod"}
SECRET = "secret-text"


@pytest.fixture
def moto() -> Iterator[MotoCloudWatch]:
    with moto_cloudwatch() as server:
        yield server


@pytest.fixture
def fake() -> Iterator[FakeCloudWatch]:
    with fake_cloudwatch() as server:
        yield server


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def operators(tmp_path: Path) -> Iterator[Operators]:
    with running_operators(tmp_path) as started:
        yield started


# The client.


def requests(count: int) -> Iterator[list[put.Datum]]:
    """The requests of so many runs; each has a duration of its own."""
    samples = []
    for n in range(count):
        body = a_run_body(f"run-{n}", functionId=f"f{n % 3}")
        body["status"]["result"]["durationMillis"] = n
        samples.append(sample_of(body, 1_700_000_000.0 + n % 60))
    groups = grouped((s for s in samples if s is not None), SeriesLimit(500))
    return put.requests(groups, OWN)


def data() -> list[put.Datum]:
    (request,) = requests(1)
    return request


@pytest.mark.usefixtures("keys")
def test_large_requests_are_accepted(moto: MotoCloudWatch) -> None:
    """They are compressed."""
    sender = CloudWatch(moto.endpoint, REGION)
    for request in requests(400):
        sender.put(NAMESPACE, request)

    functions = {dict(dimensions)["Function"] for _, dimensions in moto.metrics()}
    assert functions == {"f0", "f1", "f2"}
    assert {name for name, _ in moto.metrics()} == {"Duration", "PeakMemory", "Succeeded", "Failed"}


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize(
    ("status", "code", "refused", "says"),
    [
        (500, "InternalFailure", False, "InternalFailure"),
        (503, "ServiceUnavailable", False, "503"),
        (400, "ThrottlingException", False, "Throttling"),
        (400, "Throttling", False, "Throttling"),
        (429, "TooManyRequestsException", False, "429"),
        (400, "ExpiredTokenException", False, "Expired"),
        (403, "AccessDeniedException", False, "allow cloudwatch:PutMetricData"),
        (400, "InvalidParameterValueException", True, "InvalidParameterValue"),
        (413, "RequestEntityTooLarge", True, "413"),
    ],
)
def test_an_answer_says_whether_another_try_can_succeed(
    fake: FakeCloudWatch, status: int, code: str, refused: bool, says: str
) -> None:
    sender = CloudWatch(fake.endpoint, REGION)
    sender.put(NAMESPACE, data())
    fake.trouble.status, fake.trouble.code = status, code

    with pytest.raises(CloudWatchError, match=says) as caught:
        sender.put(NAMESPACE, data())

    assert caught.value.refused is refused
    assert SECRET not in str(caught.value)
    assert fake.trouble.requests == 2, "one try for each call"


@pytest.mark.usefixtures("keys")
def test_no_answer_in_time_is_an_error(
    fake: FakeCloudWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "READ_SECONDS", 0.1)
    waits = [True]
    fake.trouble.pause = lambda: bool(waits)
    sender = CloudWatch(fake.endpoint, REGION)

    with pytest.raises(CloudWatchError, match="ReadTimeout"):
        sender.put(NAMESPACE, data())

    waits.clear()
    CloudWatch(fake.endpoint, REGION).put(NAMESPACE, data())


@pytest.mark.usefixtures("keys")
def test_a_closed_port_is_an_error() -> None:
    sender = CloudWatch(f"http://127.0.0.1:{free_port()}", REGION)

    with pytest.raises(CloudWatchError, match="EndpointConnectionError"):
        sender.put(NAMESPACE, data())


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize("status", [200, 500])
def test_an_answer_of_another_server_is_an_error(fake: FakeCloudWatch, status: int) -> None:
    fake.trouble.status, fake.trouble.raw = status, b"<html>secret-text"
    sender = CloudWatch(fake.endpoint, REGION)

    with pytest.raises(CloudWatchError) as caught:
        sender.put(NAMESPACE, data())

    assert SECRET not in str(caught.value)


def test_without_credentials_there_is_an_error(
    fake: FakeCloudWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)

    with pytest.raises(CloudWatchError, match="NoCredentialsError"):
        CloudWatch(fake.endpoint, REGION).put(NAMESPACE, data())

    assert fake.trouble.requests == 0


@pytest.mark.usefixtures("keys")
def test_keys_that_do_not_fit_into_a_header_are_not_shown(
    fake: FakeCloudWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", f"{SECRET}\n")

    with pytest.raises(CloudWatchError) as caught:
        CloudWatch(fake.endpoint, REGION).put(NAMESPACE, data())

    assert SECRET not in str(caught.value)


# Operators.


def api(operators: Operators, name: str, endpoint: str, interval: float = 3600) -> Any:
    return operators.start(name, **api_environment(endpoint, interval))


@needs_redis
def test_an_operator_that_stops_has_sent_the_metrics_of_all_jobs(
    operators: Operators, moto: MotoCloudWatch
) -> None:
    operator = api(operators, "a", moto.endpoint)
    operators.cluster.put_jobs("job-0", "job-1", functionId="report")
    operators.cluster.put_jobs("job-2")
    all_ended_once(operators, ["job-0", "job-1", "job-2"])
    assert moto.metrics() == set()

    assert operator.stop() == 0

    assert moto.statistics("Succeeded", "report", **OWN)["Sum"] == 2
    assert moto.statistics("Failed", "report", **OWN) == {
        "Sum": 0, "SampleCount": 2, "Maximum": 0,
    }  # fmt: skip
    assert moto.statistics("Duration", "report", **OWN)["Maximum"] > 0
    assert moto.statistics("PeakMemory", "report", **OWN)["Maximum"] > 1 << 20
    assert moto.statistics("Succeeded", "_none", **OWN)["Sum"] == 1


@needs_redis
@pytest.mark.alone
def test_each_job_counts_once_over_a_take_over(operators: Operators, moto: MotoCloudWatch) -> None:
    leader = api(operators, "a", moto.endpoint, 0.2)
    api(operators, "b", moto.endpoint, 0.2)
    cluster = operators.cluster
    wait_until(lambda: cluster.watches("b") >= 2)

    def counted() -> float:
        return moto.statistics("Succeeded", "report", **OWN).get("Sum", 0)

    cluster.put_jobs(*(f"job-{n}" for n in range(5)), functionId="report")
    wait_until(lambda: counted() == 5, 120)
    leader.kill()
    cluster.put_jobs(*(f"job-{n}" for n in range(5, 9)), functionId="report")
    all_ended_once(operators, [f"job-{n}" for n in range(9)])
    wait_until(lambda: counted() >= 9, 120)
    assert operators.all["b"].stop() == 0

    assert counted() == 9


TROUBLE = {  # the other errors of the client are above
    "refuses": {"status": 403, "code": "AccessDeniedException"},
    "does not answer": {"pause": lambda: True},
}


@needs_redis
@pytest.mark.parametrize("kind", TROUBLE)
def test_trouble_with_cloudwatch_delays_no_job(
    operators: Operators, fake: FakeCloudWatch, kind: str
) -> None:
    for name, value in TROUBLE[kind].items():
        setattr(fake.trouble, name, value)
    operator = api(operators, "a", fake.endpoint, 0.1)
    jobs = [f"job-{n}" for n in range(5)]
    operators.cluster.put_jobs(jobs[0], functionId="report")
    wait_until(lambda: fake.trouble.requests > 0, 120)

    operators.cluster.put_jobs(*jobs[1:], functionId="report")
    all_ended_once(operators, jobs)
    assert operator.stop() == 0, "the end of the process is bounded too"

    log = operator.log.read_text()
    assert "nanogrid.cloudwatch" in log
    assert SECRET not in log
    assert "Traceback" not in log


@needs_redis
def test_an_endpoint_that_is_away_delays_no_job(operators: Operators) -> None:
    operator = api(operators, "a", f"http://127.0.0.1:{free_port()}", 0.1)
    operators.cluster.put_jobs("job-0", "job-1")
    all_ended_once(operators, ["job-0", "job-1"])

    assert operator.stop() == 0
    assert "EndpointConnectionError" in operator.log.read_text()


@needs_redis
@pytest.mark.parametrize("style", ["text", "json"])
def test_lines_of_metrics_stand_alone_between_lines_of_the_log(
    operators: Operators, style: str
) -> None:
    operator = operators.start(
        "a", NANOGRID_CLOUDWATCH_MODE="emf", NANOGRID_LOG_FORMAT=style,
        NANOGRID_CLOUDWATCH_INTERVAL_SECONDS="0.1",
    )  # fmt: skip
    operators.cluster.put_jobs("job-0", "job-1", functionId="report")
    all_ended_once(operators, ["job-0", "job-1"])
    assert operator.stop() == 0

    lines = operator.log.read_bytes().splitlines()
    found = [document(line) for line in lines if b"_aws" in line]
    others = [line for line in lines if b"_aws" not in line]
    assert sum(sum(d["Succeeded"]) for d in found if d["Function"] == "report") == 2
    assert others
    if style == "json":
        assert all(json.loads(line)["message"] for line in others)


# The documentation.


def words(option: str) -> str:
    """The field of an option of the AWS command line."""
    return "".join(word.capitalize() for word in option.removeprefix("--").split("-"))


def test_the_alarm_of_the_guide_is_about_a_metric_that_is_sent(moto: MotoCloudWatch) -> None:
    guide = Path("docs/cloudwatch.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"\$ (aws cloudwatch (?:.*\\\n)*.*)", guide)
    fields: dict[str, Any] = {}
    for word in shlex.split(command.replace("\\\n", " "))[3:]:
        if word.startswith("--"):
            given = fields.setdefault(words(word), [])
        else:
            given.append(word)
    pairs = [dict(part.split("=") for part in one.split(",")) for one in fields.pop("Dimensions")]
    texts = {name: value for name, (value,) in fields.items()}
    numbers = {"Period": int, "EvaluationPeriods": int, "Threshold": float}
    alarm = {n: numbers.get(n, str)(text) for n, text in texts.items()} | {"Dimensions": pairs}
    moto.client.put_metric_alarm(**alarm)

    (stored,) = moto.client.describe_alarms()["MetricAlarms"]
    assert stored["MetricName"] in UNITS
    assert stored["Namespace"] == Settings.from_env(REQUIRED_ENVIRONMENT).cloudwatch_namespace
    assert [one["Name"] for one in stored["Dimensions"]] == ["Namespace", "Function"]
    assert stored["Threshold"] == 0.05


def unpacking(text: str) -> list[str]:
    """The patterns of tags whose lines a configuration of Fluent Bit unpacks as JSON."""
    sections = [
        (kind, {key.lower(): value for key, value in re.findall(r"^\s*(\w+) +(.+)$", body, re.M)})
        for kind, body in re.findall(r"\[(\w+)\]\n((?:\s*(?!\[)\S.*\n)+)", text)
    ]
    parsers = {s["name"] for kind, s in sections if kind == "PARSER" and s["format"] == "json"}
    return [s["match"] for kind, s in sections if kind == "FILTER" and s.get("parser") in parsers]


def unpacked(pattern: str, pod: str, namespace: str, container: str) -> bool:
    tag = f"kube.var.log.containers.{pod}_{namespace}_{container}-{'0' * 64}.log"
    return fnmatch.fnmatchcase(tag, pattern)


@pytest.mark.security
def test_log_routers_make_no_metrics_of_lines_of_user_code() -> None:
    """CloudWatch makes metrics of each event that is a document, whoever wrote it."""
    (guide,) = unpacking(Path("docs/cloudwatch.md").read_text(encoding="utf-8"))
    assert unpacked(guide, "nanogrid-5d9c7b6f4-x2x7q", "nanogrid-system", "operator")
    config = yaml.safe_load_all(Path("examples/eks/logging.yaml").read_text(encoding="utf-8"))
    data = next(d["data"] for d in config if d["kind"] == "ConfigMap")

    for pattern in [guide, *unpacking("\n".join(data.values()))]:
        assert not unpacked(pattern, "sales-5351954b-0", "team-a", "sandbox")
        assert not unpacked(pattern, "nanogrid-system-operator", "team-a", "operator")
        assert not unpacked(pattern, "run-1-0", "nanogrid-system", "sandbox")
