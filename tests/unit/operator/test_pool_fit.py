"""Which jobs fit a pool's pods, and what is said of those that do not."""

from typing import Any

import pytest

from nanogrid import names
from nanogrid.types import Json
from nanogrid_operator.decision.pool_fit import misfit
from nanogrid_operator.manifests.pool_pod import template
from support.builders import a_job, some_settings, tenant_of
from support.pod_manifests import built
from support.pool_world import a_pool

SECRET = {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}}
SESSION: Json = {"mode": "Session", "code": None}
INPUT = {"name": "sales", "s3": {"prefix": "2025/"}}


def why(job: Json, pool: Json | None = None, **settings: Any) -> str:
    """Why a job does not fit a pool, both given by their specs."""
    given = some_settings(**settings)
    spec = a_job(**job).spec
    assert spec is not None
    waiting = template(a_pool(**(pool or {})), given, tenant_of(given), None)
    return misfit(spec, built(given, **job), waiting)


@pytest.mark.parametrize(
    ("job", "pool"),
    [
        pytest.param({}, {}, id="a plain job"),
        pytest.param({"inputs": [INPUT]}, {}, id="inputs"),
        pytest.param({"inputs": [INPUT], "inputStrategy": "Agent"}, {}, id="inputs by the agent"),
        pytest.param({"args": ["1"], "env": [{"name": "A", "value": "b"}]}, {}, id="args and env"),
        pytest.param(
            {"resources": {"limits": {"memory": "128Mi"}}},
            {"resources": {"limits": {"memory": "512Mi"}}},
            id="less memory than the pool has",
        ),
        pytest.param(
            {"runtime": {"image": "pandas:2"}}, {"runtime": {"image": "pandas:2"}}, id="image"
        ),
        pytest.param({}, {"preload": ["json"], "nodeSelector": {"a": "b"}}, id="placement"),
        pytest.param(
            {"priorityClassName": "high"}, {"priorityClassName": "high"}, id="the same priority"
        ),
        pytest.param({"timeouts": {"executionSeconds": 3000}}, {}, id="a longer deadline"),
        pytest.param(SESSION, {"mode": "Session"}, id="a session"),
        pytest.param(
            {**SESSION, "session": {"auth": "Unprotected", "maxLifetimeSeconds": 90_000}},
            {"mode": "Session"},
            id="a session without a token",
        ),
        pytest.param(
            {"mode": "Session", "inputs": [INPUT]}, {"mode": "Session"}, id="a session with inputs"
        ),
    ],
)
def test_a_job_that_fits(job: Json, pool: Json) -> None:
    assert why(job, pool) == ""


@pytest.mark.parametrize(
    ("job", "pool", "text"),
    [
        pytest.param(
            {"runtime": {"image": "pandas:2"}}, {}, "its image is pandas:2, and that of the pool",
            id="image",
        ),
        pytest.param(
            {}, {"runtime": {"image": "pandas:2"}}, "that of the pool is pandas:2",
            id="pool's image",
        ),
        pytest.param(
            {"resources": {"limits": {"memory": "1Gi"}}}, {},
            "resources.limits.memory is 1Gi, and that of the pool is", id="memory",
        ),
        pytest.param(
            {"resources": {"limits": {"cpu": 8}}}, {"resources": {"limits": {"cpu": 1}}},
            "resources.limits.cpu is", id="cpu",
        ),
        pytest.param(
            {"resources": {"limits": {"memory": "1Gi"}, "requests": {"memory": "1Gi"}}},
            {"resources": {"limits": {"memory": "1Gi"}, "requests": {"memory": "64Mi"}}},
            "resources.requests.memory is 1Gi, and that of the pool is 64Mi", id="requests",
        ),
        pytest.param(
            {"resources": {"limits": {"ephemeral-storage": "20Gi"}}},
            {"resources": {"limits": {"ephemeral-storage": "1Gi"}}},
            "20Gi", id="disk",
        ),
        pytest.param(
            {"serviceAccountName": "reports"}, {},
            "spec.serviceAccountName: serviceAccountName is reports, and that of the pool is",
            id="service account",
        ),
        pytest.param(
            {"runtime": {"runtimeClassName": "gvisor"}}, {},
            "spec.runtime.runtimeClassName: runtimeClassName is gvisor, and that of the pool is "
            "none", id="RuntimeClass",
        ),
        pytest.param(
            {"network": {"egress": "Internet"}}, {}, "spec.network.egress is Internet", id="network"
        ),
        pytest.param(
            {"priorityClassName": "high"}, {}, "spec.priorityClassName is high", id="priority"
        ),
        pytest.param(
            {"terminationGracePeriodSeconds": 600}, {}, "s to stop", id="grace period"
        ),
        pytest.param({"env": [SECRET]}, {}, "variables from Secrets", id="a Secret"),
        pytest.param(
            {"labels": {names.KUEUE_LABELS[0]: "batch"}}, {}, "queue of Kueue", id="Kueue"
        ),
        pytest.param(
            SESSION, {}, "it is a session, and the pool's pods are for batch jobs", id="a session"
        ),
        pytest.param(
            {}, {"mode": "Session"}, "it is a batch job, and the pool's pods are for sessions",
            id="a batch job",
        ),
        pytest.param(
            {**SESSION, "session": {"expose": "Service"}}, {"mode": "Session"},
            "spec.session.expose is Service, and only the router reaches a pod", id="exposed",
        ),
        pytest.param(
            {**SESSION, "session": {"expose": "Ingress"}}, {"mode": "Session"},
            "spec.session.expose is Ingress", id="ingress",
        ),
        pytest.param(
            {**SESSION, "env": [SECRET]}, {"mode": "Session"}, "variables from Secrets",
            id="a session with a Secret",
        ),
        pytest.param(
            {**SESSION, "resources": {"limits": {"memory": "1Gi"}}}, {"mode": "Session"},
            "resources.limits.memory is 1Gi", id="a session with more memory",
        ),
    ],
)  # fmt: skip
def test_a_job_that_does_not_fit(job: Json, pool: Json, text: str) -> None:
    assert text in why(job, pool)


def test_every_difference_is_said() -> None:
    found = why({"serviceAccountName": "reports", "runtime": {"image": "pandas:2"}})

    assert "reports" in found
    assert "; " in found
    assert "pandas:2" in found
