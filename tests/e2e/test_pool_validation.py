"""ExecutionPools: the API server refuses wrong ones with a message that says how to fix them."""

from typing import Any

import pytest
import yaml

from nanogrid import names
from nanogrid.types import Json
from support.kubectl import KubectlError, Namespace


def apply(namespace: Namespace, name: str = "data", **spec: Any) -> str:
    """What the API server says to this pool; it keeps nothing of it."""
    body: Json = {
        "apiVersion": names.API_VERSION,
        "kind": names.POOL_KIND,
        "metadata": {"name": name},
        "spec": spec,
    }
    manifest = yaml.safe_dump(body)
    return namespace.kubectl("apply", "--dry-run=server", "-f", "-", stdin=manifest)


@pytest.fixture(scope="module")
def anywhere(cluster: None) -> Namespace:
    """The default namespace, because a dry run creates nothing."""
    return Namespace("default")


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"maxReady": 0},
        {"mode": "Session", "preload": []},
        {
            "minReady": 2,
            "maxReady": 20,
            "preload": ["pandas", "matplotlib.pyplot"],
            "tolerations": [{"key": "sandbox", "operator": "Exists"}],
            "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
            "jobSelector": {"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]},
        },
    ],
)
def test_a_valid_pool_is_accepted(anywhere: Namespace, spec: Json) -> None:
    assert "created (server dry run)" in apply(anywhere, **spec)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"minReady": 3, "maxReady": 2}, "minReady exceeds maxReady"),
        ({"minReady": 1001}, "spec.minReady"),
        ({"preload": ["os; exit()"]}, "spec.preload[0]"),
        ({"preload": ["os", "os"]}, "Duplicate value"),
        ({"mode": "Session", "preload": ["os"]}, "preload is for mode: Batch"),
        ({"mode": "Other"}, "spec.mode"),
        (
            {"jobSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}},
            "In and NotIn need values",
        ),
        (
            {
                "jobSelector": {
                    "matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]
                }
            },
            "In and NotIn need values",
        ),
    ],
)
def test_a_wrong_pool_is_refused_with_a_hint(anywhere: Namespace, spec: Json, message: str) -> None:
    with pytest.raises(KubectlError) as refused:
        apply(anywhere, **spec)

    assert message in str(refused.value)


def test_a_name_that_leaves_no_room_for_pods_is_refused(anywhere: Namespace) -> None:
    assert "created" in apply(anywhere, "p" * names.POOL_NAME_MAX)
    with pytest.raises(KubectlError, match="use at most 45 lower case letters"):
        apply(anywhere, "p" * (names.POOL_NAME_MAX + 1))
