"""Jobs that run: what a user sees in the status, in Redis and in S3."""

import csv
import io
import json
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml

from examples.sales.generate import csv_bytes
from nanogrid import names
from scripts.devaccess import DevAccess
from support.kubectl import (
    Namespace,
    condition,
    eventually,
    in_redis,
    in_stream,
    inline,
    job,
    redis_of,
    zip_of,
)
from support.release import kill_operator, wait_for_operator

pytestmark = pytest.mark.alone

EXAMPLES = Path("examples")


def test_inline_job_shows_its_result_in_kubectl(namespace: Namespace) -> None:
    status = namespace.run(inline("hello", "print('안녕 sandbox')"))

    assert (status["phase"], status["reason"]) == ("Succeeded", "Completed")
    assert status["result"]["stdout"] == "안녕 sandbox\n"
    assert (status["result"]["status"], status["result"]["exitCode"]) == ("SUCCESS", 0)
    assert status["result"]["peakMemoryBytes"] > 1 << 20
    assert status["result"]["memorySource"].startswith("cgroup")
    assert condition(status, "Complete")["status"] == "True"
    assert not [c for c in status["conditions"] if c["type"] == "Failed"]
    assert all(c["observedGeneration"] == 1 for c in status["conditions"])

    head, row = namespace.kubectl("get", "ej", "hello").splitlines()
    assert head.split() == ["NAME", "PHASE", "REASON", "EXIT", "DURATION", "PEAK", "AGE"]
    assert row.split()[:4] == ["hello", "Succeeded", "Completed", "0"]
    assert row.split()[5].endswith("Mi/256Mi")
    # The pod's log without a container's name.
    (pod,) = namespace.pods("hello")
    log = eventually(
        "the sandbox's log", lambda: namespace.kubectl("logs", pod["metadata"]["name"])
    )
    assert log == "안녕 sandbox\n"


def test_example_in_the_readme_runs_unchanged(namespace: Namespace) -> None:
    namespace.kubectl("apply", "-f", str(EXAMPLES / "hello.yaml"))
    name = yaml.safe_load((EXAMPLES / "hello.yaml").read_text())["metadata"]["name"]

    assert namespace.finished(name)["phase"] == "Succeeded"


def test_command_args_env_and_stdin_reach_the_code(namespace: Namespace) -> None:
    code = "import os, sys; print(sys.argv[1:], os.environ['GREETING'], sys.stdin.read())"
    status = namespace.run(
        inline(
            "wired",
            code,
            command=["python3", "-u", "main.py"],
            args=["a b", "$(HOME)", "$$"],
            env=[{"name": "GREETING", "value": "$(PATH) 반가워"}],
            stdin="한 줄\n",
        )
    )

    assert status["result"]["stdout"] == "['a b', '$(HOME)', '$$'] $(PATH) 반가워 한 줄\n\n"


def test_sales_job_totals_the_csv_everywhere(
    namespace: Namespace, dev: DevAccess, request_id: str
) -> None:
    data = csv_bytes()
    total = sum(int(row["금액"]) for row in csv.DictReader(io.StringIO(data.decode("utf-8-sig"))))
    function = zip_of(main__py=(EXAMPLES / "sales/function/main.py").read_text())
    folder = namespace.key(f"t/{request_id}")
    dev.s3.put_object(Bucket=dev.bucket, Key=f"{folder}/v1.zip", Body=function)
    dev.s3.put_object(Bucket=dev.bucket, Key=f"{folder}/in/판매.csv", Body=data)

    status = namespace.run(
        job(
            "sales",
            requestId=request_id,
            functionId="sales",
            code={"s3": {"key": f"{folder}/v1.zip"}},
            inputs=[{"name": "sales", "s3": {"prefix": f"{folder}/in/"}}],
        )
    )

    won = f"{total:,}"
    assert status["phase"] == "Succeeded"
    assert won in status["result"]["stdout"]
    assert "과일" in status["result"]["stdout"]
    assert (status["inputs"]["files"], status["inputs"]["bytes"]) == (
        2,
        len(data) + len((EXAMPLES / "sales/function/main.py").read_bytes()),
    ), "the code's files are counted with the inputs"
    assert condition(status, "InputsSynced")["reason"] == "Synced"

    key = namespace.key(names.result_object(request_id))
    stored = dev.s3.get_object(Bucket=dev.bucket, Key=key)
    in_s3 = stored["Body"].read().decode()
    assert json.loads(in_s3)["stdout"] == status["result"]["stdout"]
    assert in_redis(dev, request_id) == in_s3, "the same bytes in Redis and in S3"

    prefix = namespace.key(names.outputs_prefix(request_id))
    listed = dev.s3.list_objects_v2(Bucket=dev.bucket, Prefix=prefix)["Contents"]
    assert sorted(o["Key"] for o in listed) == [f"{prefix}categories.csv", f"{prefix}report.json"]
    report = dev.s3.get_object(Bucket=dev.bucket, Key=f"{prefix}report.json")
    assert report["ContentType"] == "application/json"
    assert total in json.loads(report["Body"].read()).values()
    assert sorted(status["result"]["outputFiles"]) == [
        f"s3://{dev.bucket}/{prefix}categories.csv",
        f"s3://{dev.bucket}/{prefix}report.json",
    ]


def test_subscriber_and_late_reader_get_the_same_result(
    namespace: Namespace, dev: DevAccess, request_id: str
) -> None:
    channel = dev.area(namespace.name).result_key(request_id)
    pubsub = redis_of(dev).pubsub(ignore_subscribe_messages=True)
    pubsub.subscribe(channel)
    messages: list[Any] = []
    subscriber = threading.Thread(
        target=lambda: messages.extend(m for m in [_next_message(pubsub)] if m), daemon=True
    )
    subscriber.start()

    status = namespace.run(inline("published", "print(1 + 1)", requestId=request_id))
    subscriber.join(90)

    late = in_redis(dev, request_id)
    assert [m["data"] for m in messages] == [late]
    assert json.loads(late)["stdout"] == "2\n"
    assert status["delivery"]["receivers"] == 1
    assert condition(status, "ResultDelivered")["reason"] == "Delivered"
    assert 0 < redis_of(dev).ttl(channel) <= 86400
    assert in_stream(dev, request_id) == [late]


def _next_message(pubsub: Any) -> Any:
    for _ in range(60):
        message = pubsub.get_message(timeout=1)
        if message:
            return message
    return None


def test_applying_twice_gives_one_pod_and_one_result(
    namespace: Namespace, dev: DevAccess, request_id: str
) -> None:
    manifest = inline("twice", "print('once')", requestId=request_id)
    namespace.apply(manifest)
    second = namespace.apply(manifest)
    namespace.finished("twice")
    third = namespace.apply(manifest)

    assert "unchanged" in second
    assert "unchanged" in third
    assert len(namespace.pods("twice")) == 1
    assert len(in_stream(dev, request_id)) == 1


def test_long_job_shows_running(namespace: Namespace) -> None:
    namespace.apply(inline("slow", "import time; print('up', flush=True); time.sleep(600)"))

    eventually("phase Running", lambda: namespace.status("slow").get("phase") == "Running")
    namespace.patch("slow", cancel=True)
    assert namespace.finished("slow")["reason"] == "Cancelled"


def test_deleting_a_job_deletes_its_pod(namespace: Namespace) -> None:
    namespace.apply(inline("gone", "import time; time.sleep(600)"))
    eventually("the code runs", lambda: namespace.sandbox("gone").get("running"))

    namespace.kubectl("delete", "ej", "gone")

    eventually("no pod", lambda: not namespace.pods("gone"))


def test_operator_restart_during_a_job_gives_one_result(
    namespace: Namespace, dev: DevAccess, request_id: str
) -> None:
    code = "import time; print('begin', flush=True); time.sleep(8); print('end')"
    namespace.apply(inline("survivor", code, requestId=request_id))
    eventually(
        "the code runs",
        lambda: namespace.sandbox("survivor").get("running"),
    )

    kill_operator()

    status = namespace.finished("survivor")
    assert status["result"]["stdout"] == "begin\nend\n"
    assert len(namespace.pods("survivor")) == 1
    assert len(in_stream(dev, request_id)) == 1
    wait_for_operator()
