"""From the last release to this version and back: jobs that run meanwhile end once."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from scripts.devaccess import dev_access
from support.kubectl import Namespace, eventually, in_redis, in_stream, inline, kubectl
from support.release import IN_RELEASE, RELEASE
from support.upgrades import (
    CHART,
    OlderVersion,
    install,
    older_version,
    operator_pod,
    revision,
    rollback,
    values_of,
)

# Images of the older version may have to be built.
pytestmark = [pytest.mark.alone, pytest.mark.timeout(2400)]

JOBS = 3
TINY = {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"cpu": "1", "memory": "64Mi"}}


@pytest.fixture
def present(cluster: None) -> Iterator[str]:
    """The revision of the release; restored after the test."""
    before = revision()
    yield before
    if revision() != before:
        rollback(before)


@pytest.fixture(scope="module")
def older(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> OlderVersion:
    """The last release."""
    return older_version(tmp_path_factory.mktemp("older"))


def running(namespace: Namespace, names: list[str]) -> bool:
    """Whether the code of all jobs runs."""
    return all(namespace.status(name).get("phase") == "Running" for name in names)


def redis_pods() -> list[str]:
    """The pods of the release's Redis."""
    component = "app.kubernetes.io/component=dev-redis"
    return kubectl(*IN_RELEASE, "get", "pods", "-l", component, "-o", "name").split()


def test_jobs_run_through_an_upgrade_from_the_last_release_and_a_rollback(
    namespace: Namespace, present: str, older: OlderVersion, request_id: str, tmp_path: Path
) -> None:
    """About 3 min, and the build of the older images."""
    print(f"the last release is {older.name}, with {older.images}")
    ids: dict[str, str] = {}

    def start(kind: str, seconds: int) -> list[str]:
        """Start jobs that run for so long; returns their names when they run."""
        names = [f"{kind}{n}" for n in range(JOBS)]
        ids.update({name: f"{request_id}-{name}" for name in names})
        namespace.apply(
            *(inline(name, f"import time; time.sleep({seconds}); print({name!r})",
                     requestId=ids[name], resources=TINY) for name in names)
        )  # fmt: skip
        eventually(f"{names} run", partial(running, namespace, names), 120)
        return names

    install(older.chart, older.values)
    before, pods = revision(), [operator_pod()]
    ids["done"] = f"{request_id}-done"
    namespace.apply(inline("done", "print('done')", requestId=ids["done"]))
    done, redis = namespace.finished("done")["result"], redis_pods()
    through_both = start("old", 75)

    values = tmp_path / "values.json"
    values.write_text(json.dumps(values_of(present)))
    install(CHART, values)
    pods.append(operator_pod())
    print(f"upgraded; still running: {running(namespace, through_both)}")
    start("new", 45)

    rollback(before)
    pods.append(operator_pod())
    start("last", 5)

    assert len(set(pods)) == 3, "each revision has its own operator pod"
    # The Redis of tests writes to no disk. If a chart replaced its pod, it has lost entries.
    least = 1 if redis_pods() == redis else 0
    print(f"Redis has {'all' if least else 'only the last'} entries")
    with dev_access(RELEASE) as dev:
        for name, identity in ids.items():
            status = namespace.finished(name, 150)
            assert (status["phase"], status["result"]["stdout"]) == ("Succeeded", f"{name}\n"), name
            assert len(namespace.pods(name)) == 1, name
            entries = in_stream(dev, identity)
            assert least <= len(entries) <= 1, f"{name}: {len(entries)} entries in the stream"
            if entries:
                assert in_redis(dev, identity) == entries[0], f"{name}: key and stream differ"
    assert namespace.status("done")["result"] == done, "a job that had ended does not change"
