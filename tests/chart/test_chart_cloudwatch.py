"""The values of metrics in CloudWatch. Needs helm only."""

from typing import Any

import pytest

from nanogrid.cloudwatch.rules import dimensions_problem, namespace_problem
from nanogrid.types import Json
from nanogrid_operator.settings import Settings
from support.builders import REQUIRED_ENVIRONMENT
from support.helm import CHART, REAL, helm, manifests, named, pod_spec

PREFIX = "NANOGRID_CLOUDWATCH_"
ALL: Json = {
    "mode": "api", "namespace": "team/NanoGrid", "dimensions": {"Cluster": "prod"},
    "maxFunctions": 100, "intervalSeconds": 30, "region": "eu-central-1",
    "endpoint": "https://monitoring.example.com", "proxy": "http://proxy:3128",
}  # fmt: skip


def values(**cloudwatch: Any) -> Json:
    return REAL | {"metrics": {"cloudwatch": cloudwatch}}


def environment(given: Json) -> dict[str, str]:
    """The variables of the operator about CloudWatch."""
    deployment = named("Deployment", "nanogrid", manifests(values=given))
    env = pod_spec(deployment)["containers"][0]["env"]
    return {e["name"]: e["value"] for e in env if e["name"].startswith(PREFIX)}


def test_by_default_the_operator_knows_nothing_of_cloudwatch() -> None:
    assert environment(REAL) == {}
    assert environment(values(**ALL | {"mode": ""})) == {}


def test_values_become_settings() -> None:
    settings = Settings.from_env(REQUIRED_ENVIRONMENT | environment(values(**ALL)))

    assert settings.cloudwatch_mode == "api"
    assert settings.cloudwatch_namespace == "team/NanoGrid"
    assert settings.objects("cloudwatch_dimensions") == {"Cluster": "prod"}
    assert settings.cloudwatch_max_functions == 100
    assert settings.cloudwatch_interval_seconds == 30
    assert settings.cloudwatch_region == "eu-central-1"
    assert settings.cloudwatch_endpoint == "https://monitoring.example.com"
    assert settings.cloudwatch_proxy == "http://proxy:3128"


def test_the_defaults_of_the_chart_are_those_of_the_operator() -> None:
    settings = Settings.from_env(REQUIRED_ENVIRONMENT | environment(values(mode="emf")))
    plain = Settings.from_env(REQUIRED_ENVIRONMENT | {f"{PREFIX}MODE": "emf"})

    assert settings.objects("cloudwatch_dimensions") == {}
    for name in ("namespace", "region", "max_functions", "interval_seconds", "endpoint", "proxy"):
        assert getattr(settings, f"cloudwatch_{name}") == getattr(plain, f"cloudwatch_{name}")


def test_cas_of_all_servers_and_of_cloudwatch_are_joined() -> None:
    all_servers, own = (
        f"-----BEGIN CERTIFICATE-----\n{name}\n-----END CERTIFICATE-----\n"
        for name in ("all", "own")
    )
    given = values(**ALL, caBundle=own) | {"caBundle": all_servers}

    assert environment(given)[f"{PREFIX}CA_BUNDLE"].split() == (all_servers + own).split()


@pytest.mark.parametrize(
    "wrong",
    [
        {"mode": "statsd"}, {"namespace": ""}, {"namespace": "AWS/EC2"}, {"namespace": "a b"},
        {"dimensions": {"Function": "x"}}, {"dimensions": {"Duration": "x"}},
        {"dimensions": {"a b": "x"}}, {"dimensions": {"a": ""}}, {"dimensions": {"a": ":x"}},
        {"dimensions": {f"d{n}": "x" for n in range(11)}}, {"maxFunctions": 0},
        {"intervalSeconds": 1}, {"endpoint": "monitoring"}, {"endpoint": "https://u:p@host"},
        {"proxy": "proxy:3128"}, {"colour": "red"},
    ],
)  # fmt: skip
def test_the_schema_refuses_what_the_operator_refuses(wrong: Json) -> None:
    good = helm("template", "nanogrid", CHART, values=values(**ALL))
    assert good.returncode == 0, good.stderr

    done = helm("template", "nanogrid", CHART, values=values(**ALL | wrong))

    assert done.returncode != 0
    assert "cloudwatch" in done.stderr
    if "namespace" in wrong:
        assert namespace_problem(wrong["namespace"])
    if "dimensions" in wrong:
        assert dimensions_problem(wrong["dimensions"])
