"""The modes of Redis in the chart: variables that operator and gateway accept, and refusals."""

import re
from typing import Any

import pytest

from nanogrid.redis_url import server_problem
from nanogrid.types import Json
from nanogrid_gateway.api.settings import Settings as GatewaySettings
from nanogrid_operator.settings import Settings as OperatorSettings
from support.helm import CHART, DEV, REAL, helm, manifests, named, pod_spec

NO_OLDER = REAL | {"tenancy": {"compatibilityNamespace": "-"}}
SENTINEL = {"masterName": "results", "username": "watcher", "existingSecret": "sentinel-auth"}
MODES: dict[str, dict[str, Any]] = {
    "Standalone": {"url": "redis://:p,w@r:6379/3"},
    "Sentinel": {
        "url": "redis://:p,w@s-1:26379,s-2,[fd00::1]:26379/2",
        "mode": "Sentinel",
        "sentinel": SENTINEL,
    },
    "Cluster": {"url": "rediss://user@node-1:6379,node-2:6379/0", "mode": "Cluster"},
}
PASSWORD = "NANOGRID_REDIS_SENTINEL_PASSWORD"
# What comes from Secrets or the pod itself.
ELSEWHERE = {
    "NANOGRID_SESSION_KEY": "k" * 32,
    "NANOGRID_RESULT_KEY_MASTER": "k" * 32,
    "NANOGRID_IDENTITY": "pod",
    "NANOGRID_LEASE_NAMESPACE": "platform",
    "NANOGRID_NAMESPACE": "platform",
}


def env_of(documents: list[Json], deployment: str) -> dict[str, Any]:
    """The variables of a Deployment by name."""
    spec = pod_spec(named("Deployment", deployment, documents))
    return {one["name"]: one for one in spec["containers"][0]["env"]}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("deployment", ["nanogrid", "nanogrid-gateway"])
def test_operator_and_gateway_accept_what_the_chart_sets(deployment: str, mode: str) -> None:
    redis = MODES[mode]
    env = env_of(
        manifests("--namespace", "platform", values=NO_OLDER | {"redis": redis}), deployment
    )
    given = ELSEWHERE | {name: one["value"] for name, one in env.items() if "value" in one}
    settings = OperatorSettings if deployment == "nanogrid" else GatewaySettings
    server = settings.from_env(given).redis_server

    assert (server.url, server.mode, server_problem(server)) == (redis["url"], mode, "")
    with_sentinels = mode == "Sentinel"
    assert server.sentinel_master == (SENTINEL["masterName"] if with_sentinels else "")
    assert server.sentinel_username == (SENTINEL["username"] if with_sentinels else "")
    assert (PASSWORD in env) == with_sentinels
    if with_sentinels:
        secret = {"name": "sentinel-auth", "key": "password"}
        assert env[PASSWORD]["valueFrom"]["secretKeyRef"] == secret


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (REAL | {"redis": {"url": "redis://a,b/0"}}, "names several servers, and redis.mode is"),
        (REAL | {"redis": {"url": "redis://a", "mode": "Ring"}}, "Standalone"),
        (
            REAL | {"redis": {"url": "redis://a,b", "mode": "Sentinel"}},
            "requires redis.sentinel.masterName",
        ),
        (NO_OLDER | {"redis": {"url": "redis://a,b/1", "mode": "Cluster"}}, "only the database 0"),
        (
            REAL | {"redis": {"url": "redis://a,b/0", "mode": "Cluster"}},
            'requires tenancy.compatibilityNamespace="-": .* namespace platform ',
        ),
        (
            DEV | {"redis": {"mode": "Cluster"}, "tenancy": {"compatibilityNamespace": "-"}},
            "does not go with devServices.enabled",
        ),
        (REAL | {"redis": {"url": "redis://a", "sentinel": {"master": "x"}}}, "master"),
        (REAL | {"redis": {"url": "redis://a", "prefix": "{x}"}}, "prefix"),
    ],
)
def test_values_that_cannot_work_are_refused(values: dict[str, Any], message: str) -> None:
    done = helm("template", "nanogrid", CHART, "--namespace", "platform", values=values)

    assert done.returncode != 0
    assert re.search(message, done.stderr), done.stderr
