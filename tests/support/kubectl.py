"""kubectl and job manifests for all suites that use a cluster.

The tests read through kubectl on purpose: so they see what a user sees.
"""

import io
import json
import re
import subprocess
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nanogrid import names, pod_identity
from nanogrid.tenancy import PLATFORM_STREAM, Area
from nanogrid.types import Json
from scripts.devaccess import NAMESPACE as RELEASE_NAMESPACE
from scripts.devaccess import DevAccess

# Bounds of waits, long enough for a busy machine: a test that passes does not wait so long.
FINISH_SECONDS = 180
EVENTUALLY_SECONDS = 120
ANSWER_SECONDS = 15  # for kubectl to say that its own wait has ended
OWN_WAIT = re.compile(r"--timeout=(\d+)s")


class KubectlError(Exception):
    """kubectl exited with an error; the message is its stderr."""


def kubectl(*args: str, stdin: str | None = None, timeout: float = 120) -> str:
    """Run kubectl and return its stdout.

    It is ended after ``timeout`` seconds, but not before the end of a wait of its own.

    Raises:
        KubectlError: it exited with an error; after a wait of its own the message says for what.
        subprocess.TimeoutExpired: it was ended.
    """
    waits = [OWN_WAIT.fullmatch(arg) for arg in args]
    longest = max([timeout, *(int(wait[1]) + ANSWER_SECONDS for wait in waits if wait)])
    done = subprocess.run(
        ["kubectl", *args],
        input=stdin,
        capture_output=True,
        encoding="utf-8",
        errors="replace",  # logs of programs may have any bytes
        timeout=longest,
    )
    if done.returncode != 0:
        raise KubectlError(done.stderr.strip())
    return done.stdout


def kubectl_json(*args: str) -> Json:
    """Run kubectl with ``-o json`` and return the object."""
    found: Json = json.loads(kubectl(*args, "-o", "json"))
    return found


def eventually(what: str, check: Callable[[], Any], timeout: float = EVENTUALLY_SECONDS) -> Any:
    """Repeat ``check`` until its value is true, and return the value.

    An error of kubectl counts as "not yet": for example the kubelet shows a container as waiting
    for a moment after its code has run.

    Raises:
        AssertionError: names ``what`` after ``timeout`` seconds.
    """
    deadline = time.monotonic() + timeout
    last_error: KubectlError | None = None
    while True:
        try:
            found = check()
            last_error = None
        except KubectlError as error:
            found, last_error = None, error
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what}") from last_error
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
    """A ZIP with these files; a double underscore in a name means a dot.

    The same files give the same bytes and the same checksum.
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
    """The namespace of one test."""

    name: str

    @property
    def area(self) -> Area:
        """Where its data is, by the rules of the release; the tests take the bucket from dev."""
        return Area.of(self.name, bucket="", compatibility_namespace=RELEASE_NAMESPACE)

    def key(self, relative: str) -> str:
        """The S3 key of a name, below the root of the namespace."""
        return self.area.key(relative)

    def kubectl(self, *args: str, stdin: str | None = None) -> str:
        """Run kubectl in this namespace."""
        return kubectl("--namespace", self.name, *args, stdin=stdin)

    def apply(self, *manifests: Json) -> str:
        """Run kubectl apply; returns its stdout.

        As JSON: PyYAML does not quote texts such as 12e3, which Kubernetes reads as numbers.
        """
        everything = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
        return self.kubectl("apply", "-f", "-", stdin=json.dumps(everything))

    def get(self, name: str) -> Json:
        """The job."""
        return kubectl_json("--namespace", self.name, "get", "ej", name)

    def status(self, name: str) -> Json:
        """The job's status."""
        found: Json = self.get(name).get("status") or {}
        return found

    def finished(self, name: str, timeout: int = FINISH_SECONDS) -> Json:
        """Wait for the job's end with kubectl wait; returns its status at this moment."""
        limit = f"--timeout={timeout}s"
        printed = self.kubectl(
            "wait", f"ej/{name}", "--for=condition=Finished", limit, "-o", "json"
        )
        found: Json = json.loads(printed)["status"]
        return found

    def patch(self, name: str, **spec: Any) -> str:
        """Merge fields into the job's spec; returns kubectl's stdout."""
        text = json.dumps({"spec": spec})
        return self.kubectl("patch", "ej", name, "--type=merge", "-p", text)

    def run(self, manifest: Json) -> Json:
        """Apply a job and wait for its end; returns its status."""
        self.apply(manifest)
        return self.finished(manifest["metadata"]["name"])

    def wait_for_account(self) -> None:
        """Wait for the default service account: a new namespace gets it a moment later."""
        eventually("the default account", lambda: self.kubectl("get", "sa", "default"))

    def prints(self, job_name: str, text: str) -> bool:
        """Whether the log of the job's only pod has a text: the code has come that far."""
        pod = self.only_pod(job_name)["metadata"]["name"]
        return text in self.kubectl("logs", pod, "-c", names.CONTAINER_SANDBOX)

    def pods(self, job_name: str) -> list[Json]:
        """The pods of a job."""
        found: list[Json] = kubectl_json(
            "--namespace", self.name, "get", "pods", "-l", names.LABEL_JOB_UID
        )["items"]
        return [pod for pod in found if pod_identity.job_name(pod) == job_name]

    def only_pod(self, job_name: str) -> Json:
        """The pod of a job that has exactly one.

        Raises:
            KubectlError: It has another number of pods; :func:`eventually` tries again.
        """
        pods = self.pods(job_name)
        if len(pods) != 1:
            raise KubectlError(f"job {job_name} has {len(pods)} pods, not one")
        return pods[0]

    def evict(self, pod: Json) -> None:
        """Evict a pod through the API, as kubectl drain and the cluster autoscaler do."""
        meta = {"name": pod["metadata"]["name"], "namespace": self.name}
        path = f"/api/v1/namespaces/{self.name}/pods/{meta['name']}/eviction"
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": meta}
        kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(body))

    def sandbox(self, job_name: str) -> Json:
        """The state of the sandbox container in the job's last pod, from the kubelet."""
        pods = self.pods(job_name)
        statuses = pods[-1]["status"].get("containerStatuses", []) if pods else []
        found: Json = next(
            (c["state"] for c in statuses if c["name"] == names.CONTAINER_SANDBOX), {}
        )
        return found


def created(name: str) -> Namespace:
    """A new namespace that admits only pods of the restricted standard.

    Raises:
        KubectlError: there is a namespace with this name.
    """
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    metadata = {"name": name, "labels": labels}
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
    kubectl("create", "-f", "-", stdin=json.dumps(body))
    return Namespace(name)


def redis_of(dev: DevAccess) -> Any:
    """A Redis client; redis-py's types do not show that it is synchronous."""
    return dev.redis()


def in_redis(dev: DevAccess, request_id: str) -> str:
    """The result under the request's key, as a late reader gets it; empty if there is none.

    The namespace comes from the entry in the stream of the platform.
    """
    spaces = {
        fields["namespace"] for fields in stream_entries(dev) if fields["requestId"] == request_id
    }
    keys = [dev.area(namespace).result_key(request_id) for namespace in spaces]
    assert len(keys) <= 1, f"{request_id} is in several namespaces: {keys}"
    return str(redis_of(dev).get(keys[0]) or "") if keys else ""


def in_stream(dev: DevAccess, request_id: str) -> list[str]:
    """The results of a request in the stream of the platform, newest first."""
    return [fields["result"] for fields in stream_entries(dev) if fields["requestId"] == request_id]


def stream_entries(dev: DevAccess, count: int = 200) -> list[Json]:
    """The newest entries in the stream of the platform; without those of older versions."""
    entries = redis_of(dev).xrevrange(PLATFORM_STREAM, count=count)
    return [fields for _, fields in entries if "namespace" in fields]


def condition(status: Json, kind: str) -> Json:
    """One condition of a job's status."""
    found: Json = next(c for c in status["conditions"] if c["type"] == kind)
    return found
