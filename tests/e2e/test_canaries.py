"""What jobs leave behind contains no secret. `no_secret_in_any_output` searches the whole suite."""

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from e2e.sessions import SMALL, start
from nanogrid.types import Json
from scripts.devaccess import DevAccess
from support.canaries import Canaries, Output, secrets_of_release
from support.dev_objects import put_object
from support.job_watcher import JOBS
from support.kubectl import KubectlError, Namespace, eventually, inline, job, kubectl_json, zip_of
from support.object_watcher import ObjectWatcher
from support.outputs import EVENTS, api_object, platform_logs, redis_values, s3_objects
from support.sessions import session

pytestmark = pytest.mark.security

RESULT_KEY = "NANOGRID_RESULT_KEY"  # the agent's variable that signs the results of one job
# Prints all that user code can read where credentials could be.
SNOOP = """
import glob, os
for path in [*glob.glob("/proc/[0-9]*/environ"), *glob.glob("/run/**", recursive=True),
             *glob.glob("/var/run/secrets/**", recursive=True), "/etc/hosts", "/etc/resolv.conf"]:
    try:
        print(path, open(path, errors="replace").read(4000))
    except OSError as error:
        print(path, error.strerror)
os.makedirs("output", exist_ok=True)
open("output/environment.txt", "w").write(str(dict(os.environ)))
"""


@pytest.fixture
def since(cluster: None) -> datetime:
    """The time before the test; S3 rounds down to seconds."""
    return datetime.now(UTC) - timedelta(seconds=2)


def test_the_search_finds_what_is_planted(
    namespace: Namespace, dev: DevAccess, since: datetime
) -> None:
    """The positive control: each place is searched, and what is there is found."""
    planted = f"canary{uuid.uuid4().hex}"
    canaries, live = [Canaries({"canary": planted.encode()}) for _ in range(2)]
    watchers = [
        ObjectWatcher(path, lambda body: live.search([api_object(body)])) for path in (JOBS, EVENTS)
    ]
    for watcher in watchers:
        watcher.start()
    namespace.run(inline(planted, f"print('{planted}')", requestId=planted))
    eventually("jobs and Events are seen", lambda: len({f.split()[2] for f in live.found}) > 1)
    for watcher in watchers:
        watcher.stop()
    for outputs in (s3_objects(dev, since), redis_values(dev), platform_logs(since)):
        canaries.search(outputs)

    found = "\n".join(canaries.found)
    for place in ("keys in S3", f"{planted}/result.json", "keys in Redis", "log of pod/"):
        assert place in found
    assert any("in Redis result:" in line and planted in line for line in canaries.found)


def test_sandboxes_leave_no_secret_in_logs_pods_and_results(
    namespace: Namespace, dev: DevAccess, router_url: str, since: datetime
) -> None:
    code = put_object(dev, namespace.key("code/v1.zip"), zip_of(main__py=SNOOP))
    data = put_object(dev, namespace.key("data/a.txt"), b"data")
    inputs = [{"name": "a", "s3": {"key": data}}]
    caller, path, _ = start(namespace, router_url, session("session", resources=SMALL))
    namespace.apply(
        job("synced", code={"s3": {"key": code}}, inputs=inputs, resources=SMALL),
        inline("failing", SNOOP + "raise SystemExit(3)", resources=SMALL),
    )
    caller.execute(path, SNOOP)
    live = list(sandbox_outputs(namespace, namespace.pods("session")))
    assert caller.call("POST", f"{path}/end").status < 300
    ends = [namespace.finished(name) for name in ("session", "synced", "failing")]
    pods = kubectl_json("--namespace", namespace.name, "get", "pods")["items"]
    keys = {
        f"key of {pod['metadata']['name']}": variable["value"].encode()
        for pod in pods
        for container in pod["spec"]["containers"]
        for variable in container.get("env", [])
        if variable["name"] == RESULT_KEY
    }
    canaries = Canaries(secrets_of_release() | keys)
    canaries.search(("status", json.dumps(end).encode()) for end in ends)
    canaries.search(live)
    canaries.search(sandbox_outputs(namespace, pods))
    canaries.search(s3_objects(dev, since))
    canaries.search(redis_values(dev))
    canaries.search(platform_logs(since))

    assert [end["reason"] for end in ends] == ["SessionEnded", "Completed", "NonZeroExit"]
    assert len(live) == 2
    assert len(pods) >= 2
    assert canaries.found == []
    assert "/proc/1/environ" in ends[1]["result"]["stdout"], "the code looked"


def sandbox_outputs(namespace: Namespace, pods: list[Json]) -> Iterator[Output]:
    """Logs and statuses of pods, with termination messages."""
    for pod in pods:
        name = pod["metadata"]["name"]
        yield f"status of {name}", json.dumps(pod["status"]).encode()
        try:
            log = namespace.kubectl("logs", name, "--all-containers")
        except KubectlError as error:
            if "NotFound" not in str(error):
                raise
            continue  # the pod is gone since the listing
        assert log
        yield f"log of {name}", log.encode()
