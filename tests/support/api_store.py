"""Objects of an API server in memory, and an operator that runs inline code."""

import contextlib
import json
import subprocess
import sys
import threading
import uuid
from typing import Any

from nanogrid import names, wire
from nanogrid.types import Json

NAMESPACE = "team"
CODE_SECONDS = 120


class ApiStore:
    """Objects by path, with the history of their changes for watches."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.objects: dict[str, Json] = {}
        self.history: list[tuple[int, str, str, Json]] = []  # version, kind, path, object
        self.version = 100
        self.oldest = 0  # a watch from an earlier version gets 410

    def put(self, path: str, body: Json) -> Json:
        """Create or change an object and notify watches."""
        with self.changed:
            kind = "MODIFIED" if path in self.objects else "ADDED"
            self.version += 1
            metadata = {"uid": str(uuid.uuid4()), "creationTimestamp": "2026-01-01T00:00:00Z"}
            metadata |= self.objects.get(path, {}).get("metadata", {}) | body.get("metadata", {})
            metadata |= {"resourceVersion": str(self.version)}
            self.objects[path] = body | {"metadata": metadata}
            self._record(kind, path)
            return self.objects[path]

    def remove(self, path: str) -> Json:
        """Delete an object and notify watches."""
        with self.changed:
            self.version += 1
            self.objects[path]["metadata"]["resourceVersion"] = str(self.version)
            self._record("DELETED", path)
            return self.objects.pop(path)

    def forget(self) -> None:
        """Drop the history up to now, as etcd's compaction does."""
        with self.changed:
            self.oldest = self.version + 1
            self.history.clear()

    def job_path(self, name: str, namespace: str = NAMESPACE) -> str:
        return f"/apis/{names.API_VERSION}/namespaces/{namespace}/{names.PLURAL}/{name}"

    def finish(self, path: str, **result: Any) -> None:
        """Write a terminal status; ``result`` are fields of the result."""
        job = self.objects[path]
        found = result_of(job, **result)
        phase = "Succeeded" if found["status"] == wire.STATUS_SUCCESS else "Failed"
        status = {"phase": phase, "reason": found["reason"], "message": found["message"]}
        self.put(path, job | {"status": status | {"result": found}})

    def _record(self, kind: str, path: str) -> None:
        copy = json.loads(json.dumps(self.objects[path]))
        self.history.append((self.version, kind, path, copy))
        self.changed.notify_all()


def result_of(job: Json, **fields: Any) -> Json:
    """The JSON of a successful result, with other values for some fields."""
    metadata = job["metadata"]
    made = wire.to_dict(
        wire.blank_result(
            request_id=job["spec"].get("requestId") or metadata["uid"],
            function_id=None,
            status=wire.STATUS_SUCCESS,
            reason="Completed",
            job=wire.JobRef(
                namespace=metadata["namespace"], name=metadata["name"], uid=metadata["uid"]
            ),
            attempt=0,
            message="",
        )
    )
    found: Json = made | {wire.json_name(key): value for key, value in fields.items()}
    return found


def run_inline(store: ApiStore, path: str, job: Json) -> None:
    """Do the operator's work: run inline code in a process and write the status."""
    code = job["spec"].get("code", {}).get("inline")
    if code is None:
        return
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=CODE_SECONDS
    )
    fields: Json = {"exit_code": done.returncode, "stdout": done.stdout, "stderr": done.stderr}
    if done.returncode != 0:
        fields |= {"status": "FAILED", "reason": "NonZeroExit", "message": "Exit code 1."}
    with contextlib.suppress(KeyError):  # a test deleted the job meanwhile
        store.finish(path, **fields)
