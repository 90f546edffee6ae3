"""A real Prometheus in the cluster: what it finds, what dashboards show, that no alert is active.

It scrapes what the ServiceMonitor of the chart selects, and loads the rules of the PrometheusRule.
"""

import json
import math
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

import pytest

from examples.gateway_client import Gateway, GatewayError
from nanogrid import names
from nanogrid.types import Json
from scripts.devaccess import DevAccess, PortForward
from support.dashboards import PanelQuery, chosen, filled_in, panel_queries
from support.dashboards import dashboards as all_dashboards
from support.gateways import an_echo
from support.kubectl import (
    Namespace,
    created,
    eventually,
    inline,
    job,
    kubectl,
    kubectl_json,
    zip_of,
)
from support.prometheus_api import Prometheus
from support.prometheus_pod import a_prometheus, all_up, monitoring_of_release
from support.prometheus_tools import promtool
from support.release import IN_RELEASE, RELEASE, RELEASE_NAMESPACE
from support.sessions import Caller, path_of, router, session, starting

pytestmark = [pytest.mark.alone, pytest.mark.timeout(1200)]

INSTALLATION: Final = f"{RELEASE_NAMESPACE}/{RELEASE}"
ROUNDS: Final = 4
DATA_SECONDS: Final = 120
TIMES: Final = {"__rate_interval": "10m", "__range": "15m"}
FAILS: Final = "import sys\nsys.exit(3)\n"
WRITES: Final = (
    "import os\nos.makedirs('output', exist_ok=True)\nopen('output/a', 'w').write('a')\n"
)
POOL: Final = {
    "apiVersion": names.API_VERSION,
    "kind": names.POOL_KIND,
    "metadata": {"name": "fast"},
    "spec": {"minReady": 1},
}
# They limit a time, which the busy cores of a test cluster exceed. The pool has one pod, and none
# while it is replaced.
TIMED: Final = {
    "NanoGridDeliveryBudgetBurnsFast", "NanoGridDeliveryBudgetBurnsSlowly", "NanoGridPoolEmpty"
}  # fmt: skip
# Panels without a number in a system that works, and why. A panel that is not named has one.
WITHOUT_DATA: Final[dict[tuple[str, str], str]] = {}


@dataclass(frozen=True)
class Monitored:
    """Prometheus, and what has run in front of it."""

    prometheus: Prometheus
    namespace: Namespace
    groups: list[Json]
    function: str


@pytest.fixture(scope="module")
def space(cluster: None) -> Iterator[Namespace]:
    """A namespace of the restricted standard, for Prometheus and for the jobs."""
    found = created(f"e2e-prometheus-{uuid.uuid4().hex[:8]}")
    yield found
    kubectl("delete", "namespace", found.name, "--wait=false")


@pytest.fixture(scope="module")
def monitored(
    space: Namespace, dev: DevAccess, gateway_url: str, gateway_token: str
) -> Iterator[Monitored]:
    """Prometheus, with jobs, runs of a function and sessions in several rounds."""
    monitor, groups = monitoring_of_release()
    gateway = Gateway(gateway_url, gateway_token)
    stranger = Gateway(gateway_url, "wrong")
    with a_prometheus(space, monitor, groups) as prometheus, an_echo(gateway) as function:
        found = Monitored(prometheus, space, groups, function)
        for number in range(ROUNDS):
            work(found, number, gateway, dev)
            for attempt in (
                partial(stranger.run, function, {}),
                partial(gateway.run, "no-such-function", {}),
            ):
                with pytest.raises(GatewayError):
                    attempt()
            # A counter has a rate when it has grown between two scrapes.
            eventually("the ends are scraped", partial(scraped, found, number + 1))
            if not without_data(found):
                break
        yield found


def work(found: Monitored, number: int, gateway: Gateway, dev: DevAccess) -> None:
    """One round: a job that stores an output, one that fails twice, one of a pool, and others.

    The others are a run of a function and a session.
    """
    space = found.namespace
    key = space.key(f"code/{number}.zip")
    dev.s3.put_object(Bucket=dev.bucket, Key=key, Body=zip_of(main__py=WRITES))
    space.wait_for_account()
    space.apply(
        job(f"good-{number}", code={"s3": {"key": key}}),
        inline(f"bad-{number}", FAILS, backoffLimit=1),
        POOL,
    )
    eventually("a pod of the pool waits", partial(pod_waits, space))
    space.apply(inline(f"warm-{number}", "print(1)", poolRef={"name": "fast"}))
    talk(space, f"talk-{number}")
    gateway.run(found.function, {"name": "round"})
    for name in (f"good-{number}", f"bad-{number}", f"warm-{number}"):
        space.finished(name)


def pod_waits(space: Namespace) -> bool:
    """Whether a job of the pool finds a pod."""
    found = kubectl_json("--namespace", space.name, "get", names.POOL_PLURAL, "fast")
    return bool((found.get("status") or {}).get("ready"))


def talk(space: Namespace, name: str) -> None:
    """Ask a session while it starts, and let it execute code. It goes on, so that it is counted."""
    with router() as url:
        caller = starting(space, url, session(name))
        assert caller.execute(path_of(space, name), "print(1)")["stdout"] == "1\n"


def scraped(found: Monitored, rounds: int) -> bool:
    """Whether Prometheus has seen the ends of the jobs of all rounds, and the function."""
    ends = f'sum(nanogrid_jobs_finished_total{{namespace="{found.namespace.name}"}})'
    series = found.prometheus.query(ends)
    functions = found.prometheus.label_values("nanogrid_function_runs_total", "function")
    enough = bool(series) and float(series[0]["value"][1]) >= 3 * rounds
    return enough and found.function in functions


def variables(found: Monitored, board: Json) -> dict[str, str]:
    """The values of a dashboard's variables. Functions run in the namespace of the gateway."""
    wishes = {"namespace": RELEASE_NAMESPACE, "function": found.function}
    return {**chosen(board, found.prometheus.label_values, wishes), **TIMES}


def has_number(series: list[Json]) -> bool:
    """Whether a result has a number: the quantile of nothing is NaN."""
    return any(not math.isnan(float(one["value"][1])) for one in series)


def without_data(found: Monitored) -> list[PanelQuery]:
    """The queries of panels without a number."""
    values = {name: variables(found, board) for name, board in all_dashboards().items()}
    return [
        one
        for one in panel_queries()
        if not has_number(found.prometheus.query(filled_in(one.expr, values[one.dashboard])))
    ]


def test_the_monitor_finds_all_pods_with_metrics(monitored: Monitored) -> None:
    selector = f"app.kubernetes.io/instance={RELEASE}"
    pods = kubectl_json(*IN_RELEASE, "get", "pods", "-l", selector)["items"]
    expected = {
        pod["metadata"]["name"]: pod["metadata"]["labels"]["app.kubernetes.io/component"]
        for pod in pods
        if "metrics"
        in {
            port.get("name")
            for container in pod["spec"]["containers"]
            for port in container.get("ports", [])
        }
    }
    targets = {t["labels"]["pod"]: t["labels"] for t in monitored.prometheus.targets()}

    assert {pod: labels["component"] for pod, labels in targets.items()} == expected
    assert set(expected.values()) == {"operator", "gateway", "router", "egress"}
    assert {labels["installation"] for labels in targets.values()} == {INSTALLATION}
    assert all_up(monitored.prometheus)


def test_promtool_accepts_the_page_of_each_target(monitored: Monitored) -> None:
    for target in monitored.prometheus.targets():
        pod, address = target["labels"]["pod"], target["discoveredLabels"]["__address__"]
        page = page_of(pod, int(address.rpartition(":")[2]))
        done = promtool("check", "metrics", stdin=page)
        assert done.returncode == 0, f"{pod}: {done.stdout}{done.stderr}"
        assert "nanogrid_build_info" in page


def page_of(pod: str, port: int) -> str:
    """The metrics of a pod as its server renders them."""
    with PortForward(RELEASE_NAMESPACE, f"pod/{pod}", port) as forward:
        answer = Caller(forward.wait_url()).call("GET", "/metrics")
        return str(answer.body["text"])


def test_each_panel_of_each_dashboard_has_data(monitored: Monitored) -> None:
    missing = {(one.dashboard, one.panel): one.expr for one in without_data(monitored)}
    assert set(missing) == set(WITHOUT_DATA), json.dumps(
        {f"{board}: {panel}": expr for (board, panel), expr in missing.items()}, indent=1
    )


def test_the_variables_of_dashboards_have_values(monitored: Monitored) -> None:
    for board in all_dashboards().values():
        assert all(chosen(board, monitored.prometheus.label_values, {}).values())


def test_the_label_namespace_is_that_of_the_jobs(monitored: Monitored) -> None:
    found = monitored.prometheus.query(
        f'nanogrid_jobs_finished_total{{namespace="{monitored.namespace.name}"}}'
    )
    reasons = {one["metric"]["reason"] for one in found}
    assert {"Completed", "NonZeroExit"} <= reasons
    assert not any("exported_namespace" in one["metric"] for one in found)


def test_all_rules_work_and_no_alert_is_active(monitored: Monitored) -> None:
    expected = {
        rule.get("alert") or rule["record"] for group in monitored.groups for rule in group["rules"]
    }

    def evaluated() -> bool:
        return all(rule["lastEvaluation"] > "0002" for rule in monitored.prometheus.rules())

    eventually("all rules are evaluated", evaluated, DATA_SECONDS)
    rules = monitored.prometheus.rules()
    assert {rule["name"] for rule in rules} == expected
    wrong = {r["name"]: r.get("lastError") for r in rules if r["health"] != "ok"}
    assert not wrong
    active = {r["name"]: r["alerts"] for r in rules if r.get("alerts")}
    assert set(active) <= TIMED, active
    # The recorded series have data, so an alert that is not active is a statement.
    for rule in rules:
        if rule["type"] == "recording" and "platform_faults" not in rule["name"]:
            assert monitored.prometheus.query(rule["name"]), rule["name"]
