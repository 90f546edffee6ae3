"""The observed history of one job: it ends once, and its end does not change."""

import json
import time
from dataclasses import dataclass, field

from nanogrid.types import Json

TERMINAL = ("Succeeded", "Failed")
# A test gives its job this annotation before it moves the time of the end itself.
END_MOVED = "end-moved-by-test"


def final_fields(status: Json) -> str:
    """The fields of a terminal status that must not change, as JSON; delivery may come later."""
    kept = ("phase", "reason", "message", "result", "completionTime", "attempts", "podName")
    return json.dumps({k: status.get(k) for k in kept}, sort_keys=True)


@dataclass
class JobRecord:
    """One job as observed over time."""

    name: str
    uid: str
    request_id: str
    first_seen: float = 0.0  # time.monotonic()
    phases: list[tuple[float, str, str]] = field(default_factory=list)  # at, phase, reason
    status: Json = field(default_factory=dict)
    terminal: str = ""
    finished_at: float = 0.0  # time.monotonic()
    violations: list[str] = field(default_factory=list)
    deleted: bool = False

    @classmethod
    def of(cls, body: Json) -> "JobRecord":
        """The record of a job that is observed for the first time."""
        metadata, uid = body["metadata"], body["metadata"]["uid"]
        request = body["spec"].get("requestId") or uid
        return cls(metadata["name"], uid, request, time.monotonic())

    @property
    def finished(self) -> bool:
        """Whether a terminal status was observed."""
        return bool(self.terminal)

    @property
    def end_observed(self) -> bool:
        """Whether the transition to the end was observed, not only the ended job."""
        return self.finished and len(self.phases) > 1

    @property
    def reason(self) -> str:
        """The last observed reason."""
        return str(self.status.get("reason", ""))

    def update(self, body: Json) -> None:
        """Record the current state of the job."""
        self.status = status = body.get("status") or {}
        phase, reason = status.get("phase", ""), status.get("reason", "")
        if not self.phases or self.phases[-1][1:] != (phase, reason):
            self.phases.append((time.monotonic(), phase, reason))
        if phase in TERMINAL and "memory" in status:
            self.violations.append(f"shows memory after its end: {status['memory']}")
        if self.terminal:
            if END_MOVED in (body["metadata"].get("annotations") or {}):
                status = status | {"completionTime": json.loads(self.terminal)["completionTime"]}
            if final_fields(status) != self.terminal:
                self.violations.append(f"changed after its end: {self.terminal} → {status}")
        elif phase in TERMINAL:
            self.terminal, self.finished_at = final_fields(status), time.monotonic()
