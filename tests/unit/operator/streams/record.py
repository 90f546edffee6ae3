"""Record the watch events of a job and its pod: ``python -m tests.unit.operator.streams.record``.

Needs a cluster with the chart installed. Each scenario becomes ``NAME.json`` here, with the names
and uids of :mod:`support.builders`, and without fields that the operator does not read.
"""

import argparse
import json
import secrets
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[4]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]

from nanogrid import names  # noqa: E402
from nanogrid.types import Json  # noqa: E402
from nanogrid_operator.kube.objects import pod_name  # noqa: E402
from nanogrid_operator.watch.transform import transform_pod  # noqa: E402
from support.builders import JOB_UID, POD_NAME, POD_UID  # noqa: E402

ENDLESS = "import time\nprint('up', flush=True)\ntime.sleep(600)\n"
SCENARIOS: dict[str, Json] = {
    "success": {"code": {"inline": "print('hello')\n"}},
    "failure": {"code": {"inline": "raise SystemExit(3)\n"}},
    "oom": {
        "code": {"inline": "x = bytearray(400 << 20)\nprint(len(x))\n"},
        "resources": {"limits": {"memory": "64Mi"}},
    },
    "timeout": {"code": {"inline": ENDLESS}, "timeouts": {"executionSeconds": 3}},
    "pod-deleted": {"code": {"inline": ENDLESS}},
    "job-deleted": {"code": {"inline": ENDLESS}},
}


def kubectl(*args: str, stdin: str | None = None) -> str:
    """Run kubectl."""
    done = subprocess.run(
        ["kubectl", *args], input=stdin, capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout


def watch(kind: str, namespace: str, file: Path) -> "subprocess.Popen[bytes]":
    """Write the events of a watch to a file, starting now."""
    command = ["kubectl", "-n", namespace, "get", kind, "-w", "--output-watch-events", "-o", "json"]
    with file.open("wb") as out:
        return subprocess.Popen(command, stdout=out)


def record(name: str, spec: Json, namespace: str, folder: Path) -> None:
    """Run one scenario and write its streams."""
    files = {kind: folder / f"{name}.{kind}" for kind in ("ej", "pod")}
    watches = [watch(kind, namespace, file) for kind, file in files.items()]
    time.sleep(1)  # the watches start
    body = {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": {"name": name}}
    kubectl("-n", namespace, "create", "-f", "-", stdin=json.dumps({**body, "spec": spec}))
    if name.endswith("-deleted"):
        kubectl("-n", namespace, "wait", f"ej/{name}", "--for=jsonpath={.status.phase}=Running",
                "--timeout=60s")  # fmt: skip
        pod = kubectl("-n", namespace, "get", f"ej/{name}", "-o", "jsonpath={.status.podName}")
        gone = ["pod", pod] if name == "pod-deleted" else ["ej", name]
        kubectl("-n", namespace, "delete", *gone, "--timeout=100s")
    if name != "job-deleted":
        kubectl("-n", namespace, "wait", f"ej/{name}", "--for=condition=Finished",
                "--timeout=60s")  # fmt: skip
    time.sleep(4)  # the pod ends after its job
    for process in watches:
        process.terminate()
        process.wait()
    streams = {kind: events(file.read_text()) for kind, file in files.items()}
    text = json.dumps(trimmed(name, namespace, streams), indent=1, ensure_ascii=False)
    (ROOT / f"tests/unit/operator/streams/{name}.json").write_text(text + "\n", encoding="utf-8")
    kubectl("-n", namespace, "delete", "ej", "--all", "--timeout=100s")


def events(text: str) -> list[Json]:
    """The JSON objects of a watch's output, one after another."""
    decoder, found, at = json.JSONDecoder(), [], 0
    while (at := text.find("{", at)) >= 0:
        event, at = decoder.raw_decode(text, at)
        found.append(event)
    return found


def trimmed(name: str, namespace: str, streams: dict[str, list[Json]]) -> Json:
    """The streams with the names and uids of support.builders."""
    jobs, pods = streams["ej"], streams["pod"]
    job, pod = jobs[0]["object"]["metadata"], pods[0]["object"]["metadata"]
    for event in jobs:
        event["object"]["metadata"].pop("managedFields", None)
        event["object"]["metadata"].pop("annotations", None)
    kept = {
        "jobs": jobs,
        "pods": [{"type": e["type"], "object": transform_pod(e["object"])} for e in pods],
    }
    text = json.dumps(kept)
    replacements = {
        pod_name(name, job["uid"], 0): POD_NAME, pod["uid"]: POD_UID, job["uid"]: JOB_UID,
        f'"{name}"': '"sales"', f'\\"{name}\\"': '\\"sales\\"', namespace: "team-a",
    }  # fmt: skip
    for old, new in replacements.items():
        text = text.replace(old, new)
    found: Json = json.loads(text)
    return found


def main() -> None:
    """Record the named scenarios, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(SCENARIOS), help=", ".join(SCENARIOS))
    namespace = f"record-{secrets.token_hex(3)}"
    folder = ROOT / "build/streams"
    folder.mkdir(parents=True, exist_ok=True)
    kubectl("create", "namespace", namespace)
    try:
        for name in parser.parse_args().names:
            record(name, SCENARIOS[name], namespace, folder)
            print(f"recorded {name}")
    finally:
        kubectl("delete", "namespace", namespace, "--wait=false")


if __name__ == "__main__":
    main()
