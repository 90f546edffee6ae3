"""All objects of a namespace are below its root: those of jobs, of sessions and of the gateway."""

from typing import Any

import pytest

from nanogrid import names, wire
from nanogrid_executor.paths import Paths
from nanogrid_gateway.api.object_store import Objects
from nanogrid_gateway.api.settings import Settings
from support.s3_server import BUCKET, S3Server, make_rules
from support.session_pod import session_pod, session_task

pytestmark = [pytest.mark.integration, pytest.mark.security]

ROOT = "team-b/"
LONG = "print('x' * 100_000); open('output/a.txt', 'w').write('a')"


def keys_with(s3: S3Server, request_id: str) -> set[str]:
    """The keys of a request, wherever they are."""
    found = s3.client.list_objects_v2(Bucket=BUCKET).get("Contents", [])
    return {entry["Key"] for entry in found if f"/{request_id}/" in entry["Key"]}


def test_a_job_stores_everything_below_the_root(run: Any, s3: S3Server) -> None:
    request_id = "rooted-job"
    outputs = make_rules(prefix=f"{ROOT}outputs/{request_id}/")
    result = run(LONG, bucket=BUCKET, outputs=outputs, request_id=request_id, root=ROOT).result

    assert result.stdout_url == f"s3://{BUCKET}/{ROOT}results/{request_id}/stdout.txt"
    assert keys_with(s3, request_id) == {
        f"{ROOT}results/{request_id}/result.json",
        f"{ROOT}results/{request_id}/stdout.txt",
        f"{ROOT}outputs/{request_id}/a.txt",
    }


def test_a_session_reads_and_stores_below_the_root(
    s3: S3Server, paths: Paths, launcher_dir: str
) -> None:
    request_id = "rooted-session"
    own = ROOT + names.session_prefix(request_id)
    s3.put(f"{own}input/x.csv", b"mine")
    s3.put(f"sessions/{request_id}/input/y.csv", b"not mine")
    outputs = wire.OutputRules(bucket=BUCKET, prefix=f"{own}artifacts/", path="artifacts")
    task = session_task(request_id, root=ROOT, outputs=outputs)
    with session_pod(task, paths, launcher_dir) as pod:
        pod.wait_ready()
        request = {"bucket_name": BUCKET, "action": "sync_data_from_s3"}
        denied = pod.client.ask(
            "POST", "/file-sync", request | {"s3_key_prefix": f"sessions/{request_id}/input/"}
        )
        synced = pod.client.ask("POST", "/file-sync", request | {"s3_key_prefix": f"{own}input/"})
        done = pod.client.run("open('artifacts/a', 'w').write(open('data/x.csv').read())")
        assert pod.client.ask("POST", "/end")[0] == 202
        pod.wait_end()

    assert (denied[0], synced[0], synced[1]["files"]) == (403, 200, 1)
    assert done["recorded"] is True
    stored = keys_with(s3, request_id) - {f"sessions/{request_id}/input/y.csv"}
    assert stored == {
        f"{own}input/x.csv",
        f"{own}artifacts/a",
        f"{own}debug/execution_1.json",
        f"{ROOT}results/{request_id}/result.json",
    }


def test_the_gateway_stores_reads_and_deletes_below_its_root(s3: S3Server) -> None:
    settings = Settings(
        namespace="team-b",
        s3_endpoint=s3.endpoint,
        s3_bucket=BUCKET,
        s3_root=ROOT,
        redis_url="redis://none:6379/0",
    )
    objects = Objects(settings)
    mine, theirs = objects.key(names.function_object("f-1", 1)), names.function_object("f-1", 1)
    s3.put(theirs, b"theirs")
    s3.put(names.result_object("rooted-run"), b'{"stdout": "theirs"}')

    assert objects.put_new(mine, b"mine", "application/zip")
    assert objects.result("rooted-run") is None, "it is below another root"
    s3.put(ROOT + names.result_object("rooted-run"), b'{"stdout": "mine"}')
    assert objects.result("rooted-run") == {"stdout": "mine"}
    keys = objects.written(objects.key(names.function_prefix("f-1")))
    objects.delete(list(keys))
    assert len(keys) == 1
    assert s3.get(theirs) == b"theirs"
