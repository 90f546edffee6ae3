"""Jobs and functions for the web page's tests: thousands of simple runs, and some detailed ones."""

import random
import time
from typing import Any

from nanogrid import names
from nanogrid.types import Json
from nanogrid_gateway.api.runs.jobs import job_name
from support.gateway_cluster import NAMESPACE, Cluster, key_of
from support.gateway_results import finish, result_of
from support.png import png
from support.s3_server import BUCKET, S3Server

FUNCTIONS = ("resize-images", "monthly-report", "train-model", "weekly-totals", "parse-logs")
KINDS = (
    ("Succeeded", "Completed", 0),
    ("Succeeded", "Completed", 0),
    ("Succeeded", "Completed", 0),
    ("Failed", "NonZeroExit", 1),
    ("Failed", "OOMKilled", 137),
    ("Running", "Executing", None),
    ("Pending", "Unschedulable", None),
)
MI = 1 << 20
HOSTILE = """<script>document.title='owned'</script>"'><img src=x onerror=alert(1)>"""


def stamp(ago: float) -> str:
    """The Kubernetes timestamp of ``ago`` seconds before now."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - ago))


def a_job(request_id: str, ago: float = 60, **status: Any) -> Json:
    """A job as the gateway creates it; ``status`` may have also the other fields."""
    function = status.pop("function", FUNCTIONS[0])
    version = status.pop("version", "1")
    limit = status.pop("limit", "256Mi")
    namespace = status.pop("namespace", NAMESPACE)
    return {
        "metadata": {
            "name": job_name(request_id),
            "namespace": namespace,
            "labels": {names.LABEL_FUNCTION: function},
            "annotations": {names.ANNOTATION_FUNCTION_VERSION: version},
            "creationTimestamp": stamp(ago),
        },
        "spec": {
            "requestId": request_id,
            "functionRef": {"name": function, "version": int(version)},
        },
        "status": {
            "requestId": request_id,
            "function": {"resources": {"limits": {"memory": limit}}},
        }
        | status,
    }


def add(cluster: Cluster, job: Json) -> Json:
    """Create a job in the cluster and keep its creation time."""
    created = job["metadata"]["creationTimestamp"]
    written = cluster.write(names.PLURAL, job, create=True)
    with cluster.changed:
        _stored(cluster, job)["metadata"]["creationTimestamp"] = created
    return written


def _stored(cluster: Cluster, job: Json) -> Json:
    meta = job["metadata"]
    return cluster.objects[names.PLURAL, key_of(meta["namespace"], meta["name"])]


def result(job: Json, **values: Any) -> Json:
    """The result for a job's status, in the short form for lists."""
    meta, spec = job["metadata"], job["spec"]
    return {
        "requestId": spec["requestId"],
        "functionId": spec["functionRef"]["name"],
        "status": "SUCCESS",
        "reason": "Completed",
        "exitCode": 0,
        "stdout": "",
        "stderr": "",
        "durationMillis": 312,
        "peakMemoryBytes": 41 * MI,
        "optimizationTip": "",
        "outputs": [],
        "job": {
            "namespace": meta.get("namespace", NAMESPACE),
            "name": meta["name"],
            "uid": meta.get("uid", ""),
        },
    } | values


def add_finished(cluster: Cluster, job: Json, **values: Any) -> Json:
    """Create a job in the cluster, then write its result to its status."""
    written = add(cluster, job)
    stored = _stored(cluster, job)
    found = result(job, **values)
    found["job"]["uid"] = written["metadata"]["uid"]
    cluster.write(names.PLURAL, stored | {"status": stored["status"] | {"result": found}})
    return written


def finish_run(cluster: Cluster, request_id: str, **changes: Any) -> None:
    """Finish an unfinished run as the operator does."""
    job = cluster.job(request_id)
    finish(cluster, job, result_of(job, **changes))


def stop_run(cluster: Cluster, request_id: str) -> None:
    """Set the field with which anyone stops a run."""
    job = cluster.job(request_id)
    cluster.write(names.PLURAL, job | {"spec": job["spec"] | {"cancel": True}})


def fill(cluster: Cluster, count: int, seed: int = 7) -> None:
    """Create many simple runs of a few functions over the last day."""
    rng = random.Random(seed)
    for number in range(count):
        phase, reason, code = rng.choice(KINDS if number < 60 else KINDS[:5])
        job = a_job(
            f"run-{number:05}",
            ago=30 + number * 17,
            function=rng.choice(FUNCTIONS),
            version=str(rng.randint(1, 3)),
            phase=phase,
            reason=reason,
        )
        if code is not None:
            peak = 256 * MI if reason == "OOMKilled" else rng.randint(20, 220) * MI
            job["status"] |= {
                "completionTime": stamp(number * 17),
                "peakMemory": f"{peak // MI}Mi/256Mi",
                "result": result(
                    job,
                    status="SUCCESS" if code == 0 else "FAILED",
                    reason=reason,
                    exitCode=code,
                    durationMillis=int(rng.lognormvariate(7.5, 0.8)),
                    peakMemoryBytes=peak,
                ),
            }
        elif phase == "Pending":
            job["status"]["message"] = "0/3 nodes are available: 3 Insufficient memory."
        add(cluster, job)


def a_function(
    cluster: Cluster, name: str = FUNCTIONS[0], versions: int = 3, namespace: str = NAMESPACE
) -> None:
    """A function with the status of an operator: fifty recent runs, a recommendation."""
    rng = random.Random(3)
    recent = []
    for number in range(50):
        bad = number in (9, 23)
        peak = 256 * MI if bad else int((90 + 30 * rng.random()) * MI)
        recent.append(
            {
                "requestId": f"run-{number:05}",
                "uid": f"u{number}",
                "version": 3,
                "status": "FAILED" if bad else "TIMEOUT" if number == 31 else "SUCCESS",
                "reason": "OOMKilled" if bad else "Completed",
                "time": stamp(60 + number * 300),
                "durationMillis": int(rng.lognormvariate(7.6, 0.35)),
                "peakMemoryBytes": peak,
                "memoryLimitBytes": (256 if number < 30 else 384) * MI,
            }
        )
    spec = {
        "versions": [
            {
                "version": number,
                "s3": {"key": f"functions/{name}/v{number}.zip", "sha256": f"{number}" * 64},
                "createdAt": stamp(86_400 * (5 - number)),
            }
            for number in range(1, versions + 1)
        ],
        "resources": {"limits": {"memory": "256Mi"}},
        "timeouts": {"executionSeconds": 120},
    }
    status = {
        "runs": 1284,
        "lastRun": {k: recent[0][k] for k in ("requestId", "status", "reason", "time")},
        "recommendation": {"memory": "160Mi", "basedOn": 48, "p95PeakBytes": 119 * MI},
        "recent": recent,
    }
    body = {"metadata": {"name": name, "namespace": namespace}, "spec": spec, "status": status}
    cluster.write(names.FUNCTION_PLURAL, body, create=True)


def a_success(cluster: Cluster, s3: S3Server, request_id: str = "sales-2026-11") -> Json:
    """A run with outputs: an image, a table, and an SVG and an HTML file with scripts."""
    files = {
        "chart.png": ("image/png", png()),
        "totals.csv": ("text/csv", "region,sum\n서울,1200\n".encode()),
        "evil.svg": ("image/svg+xml", b"<svg xmlns='http://www.w3.org/2000/svg' onload='x()'/>"),
        "report.html": ("text/html", b"<script>document.title='owned'</script>"),
    }
    outputs = []
    for path, (kind, body) in files.items():
        key = f"outputs/{request_id}/{path}"
        s3.client.put_object(Bucket=BUCKET, Key=key, Body=body, ContentType=kind)
        url = f"s3://{BUCKET}/{key}"
        outputs.append({"path": path, "url": url, "bytes": len(body), "contentType": kind})
    job = a_job(request_id, ago=340, version="3", phase="Succeeded", reason="Completed")
    job["status"] |= {
        "podName": f"{job['metadata']['name'][:40]}-0",
        "startTime": stamp(339),
        "completionTime": stamp(330),
        "peakMemory": "118Mi/256Mi",
        "timings": {
            "pendingMillis": 640,
            "syncMillis": 1480,
            "startMillis": 95,
            "executionMillis": 4210,
            "uploadMillis": 820,
            "totalMillis": 8930,
        },
        "conditions": [
            {
                "type": kind,
                "status": "True",
                "reason": reason,
                "message": "",
                "lastTransitionTime": stamp(330),
            }
            for kind, reason in (
                ("InputsSynced", "Synced"),
                ("Executed", "Completed"),
                ("Finished", "Completed"),
                ("ResultDelivered", "Delivered"),
            )
        ],
    }
    lines = "".join(f"region {n}: {n * 137 % 997:>5} orders\n" for n in range(1, 25))
    return add_finished(
        cluster,
        job,
        stdout=f"읽는 중: 24 regions\n{lines}done\n",
        durationMillis=4210,
        cpuMillis=3900,
        peakMemoryBytes=118 * MI,
        optimizationTip="limit 256Mi, used 118Mi: 160Mi would do",
        outputs=outputs,
    )


def an_oom(cluster: Cluster, request_id: str = "train-model-big") -> Json:
    """A run that reached its memory limit, twice."""
    job = a_job(request_id, ago=900, function=FUNCTIONS[2], phase="Failed", reason="OOMKilled")
    attempts = [
        {
            "number": number,
            "podName": f"pod-{number}",
            "reason": "OOMKilled",
            "exitCode": 137,
            "memoryLimit": "256Mi",
            "peakMemoryBytes": 256 * MI,
            "startTime": stamp(900 - 60 * number),
            "completionTime": stamp(850 - 60 * number),
        }
        for number in (0, 1)
    ]
    job["status"] |= {
        "startTime": stamp(840),
        "completionTime": stamp(790),
        "peakMemory": "256Mi/256Mi",
        "message": "The code used 256Mi of 256Mi when the kernel killed it.",
        "attempts": attempts,
        "timings": {"pendingMillis": 700, "startMillis": 90, "executionMillis": 48_000,
                    "totalMillis": 110_300},
    }  # fmt: skip
    killed = {"status": "FAILED", "reason": "OOMKilled", "exitCode": 137, "signal": "SIGKILL"}
    return add_finished(
        cluster,
        job,
        **killed,
        message=job["status"]["message"],
        durationMillis=48_000,
        peakMemoryBytes=256 * MI,
        stdout="epoch 1/20  loss 0.84\nepoch 2/20  loss 0.61\n",
        stderr="Killed\n",
        attempt=1,
    )


def a_hostile_run(cluster: Cluster, request_id: str = "hostile") -> Json:
    """A run with a script in each of its texts."""
    job = a_job(request_id, function=HOSTILE, phase="Failed", reason="NonZeroExit")
    job["status"] |= {"message": HOSTILE, "podName": HOSTILE, "completionTime": stamp(1)}
    outputs = [{"path": HOSTILE, "url": "s3://x/y", "bytes": 5, "contentType": "image/png"}]
    return add_finished(
        cluster,
        job,
        status="FAILED",
        reason="NonZeroExit",
        message=HOSTILE,
        exitCode=1,
        stdout=f"</pre>{HOSTILE}",
        stderr=HOSTILE,
        optimizationTip=HOSTILE,
        outputs=outputs,
    )
