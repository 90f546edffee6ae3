"""What e2e tests share: kubectl as a user has it, and job manifests.

Reading goes through kubectl on purpose: the tests see what a user sees.
"""

import io
import json
import subprocess
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import yaml

from nanogrid import names
from scripts.devaccess import DevAccess

Json = dict[str, Any]
FINISH_SECONDS = 90


class KubectlError(Exception):
    """kubectl ended with an error; the message is its stderr."""


def kubectl(*words: str, stdin: str | None = None, timeout: float = 120) -> str:
    """Run kubectl and return what it printed."""
    done = subprocess.run(
        ["kubectl", *words], input=stdin, capture_output=True, text=True, timeout=timeout
    )
    if done.returncode != 0:
        raise KubectlError(done.stderr.strip())
    return done.stdout


def kubectl_json(*words: str) -> Json:
    """Run kubectl with -o json and return the object."""
    found: Json = json.loads(kubectl(*words, "-o", "json"))
    return found


def eventually(what: str, check: Callable[[], Any], timeout: float = 30) -> Any:
    """Ask until the check gives something true; say what was awaited if it never does.

    A refusal by kubectl counts as "not yet": the kubelet, for one, shows a container as waiting
    for a moment after its code has run.
    """
    deadline = time.monotonic() + timeout
    refusal: KubectlError | None = None
    while True:
        try:
            found = check()
            refusal = None
        except KubectlError as error:
            found, refusal = None, error
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what}") from refusal
        time.sleep(0.1)


def job(name: str, **spec: Any) -> Json:
    """An ExecutionJob manifest."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": name},
        "spec": spec,
    }


def inline(name: str, code: str, **spec: Any) -> Json:
    """An ExecutionJob with inline code."""
    return job(name, code={"inline": code}, **spec)


def zip_of(**files: str) -> bytes:
    """A ZIP with these files; a double underscore in a name stands for a dot.

    The same files give the same bytes, so the same checksum.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            entry = zipfile.ZipInfo(name.replace("__", "."))
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, text, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


@dataclass(frozen=True)
class Namespace:
    """One test's own namespace."""

    name: str

    def kubectl(self, *words: str, stdin: str | None = None) -> str:
        """kubectl in this namespace."""
        return kubectl("--namespace", self.name, *words, stdin=stdin)

    def apply(self, *manifests: Json) -> str:
        """kubectl apply; returns what it printed."""
        return self.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(manifests))

    def get(self, name: str) -> Json:
        """The job."""
        return kubectl_json("--namespace", self.name, "get", "ej", name)

    def status(self, name: str) -> Json:
        """The job's status."""
        found: Json = self.get(name).get("status") or {}
        return found

    def finished(self, name: str, timeout: int = FINISH_SECONDS) -> Json:
        """Wait for the job's end as a user does, and return its status."""
        self.kubectl("wait", f"ej/{name}", "--for=condition=Finished", f"--timeout={timeout}s")
        return self.status(name)

    def run(self, manifest: Json) -> Json:
        """Apply a job, wait for its end, and return its status."""
        self.apply(manifest)
        return self.finished(manifest["metadata"]["name"])

    def pods(self, job_name: str) -> list[Json]:
        """The pods of a job."""
        found: list[Json] = kubectl_json(
            "--namespace", self.name, "get", "pods", "-l", f"{names.LABEL_JOB}={job_name}"
        )["items"]
        return found

    def sandbox(self, job_name: str) -> Json:
        """The kubelet's last word about the sandbox container of the job's newest pod."""
        pods = self.pods(job_name)
        statuses = pods[-1]["status"].get("containerStatuses", []) if pods else []
        found: Json = next(
            (c["state"] for c in statuses if c["name"] == names.CONTAINER_SANDBOX), {}
        )
        return found


def redis_of(dev: DevAccess) -> Any:
    """A Redis client; redis-py's types do not say whether it is a synchronous one."""
    return dev.redis()


def in_redis(dev: DevAccess, request_id: str) -> str:
    """The result that a late reader finds under its key."""
    return str(redis_of(dev).get(names.result_key(request_id)) or "")


def in_stream(dev: DevAccess, request_id: str) -> list[str]:
    """The results of a request in the stream, the newest first."""
    entries = redis_of(dev).xrevrange(names.REDIS_STREAM, count=200)
    return [fields["result"] for _, fields in entries if fields["requestId"] == request_id]


def condition(status: Json, kind: str) -> Json:
    """One condition of a job's status."""
    found: Json = next(c for c in status["conditions"] if c["type"] == kind)
    return found
