"""What became of one job, as it is seen from outside: it ends once, and its end never changes."""

import json
import time
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
TERMINAL = ("Succeeded", "Failed")


def fixed(status: Json) -> str:
    """What a terminal status says for ever: all but its delivery, which may come later."""
    kept = ("phase", "reason", "message", "result", "completionTime", "attempts", "podName")
    return json.dumps({k: status.get(k) for k in kept}, sort_keys=True)


@dataclass
class JobRecord:
    """One job as it was seen over time."""

    name: str
    uid: str
    request_id: str
    seen: float = 0.0  # time.monotonic()
    phases: list[tuple[float, str, str]] = field(default_factory=list)  # at, phase, reason
    status: Json = field(default_factory=dict)
    terminal: str = ""
    finished_at: float = 0.0  # time.monotonic()
    violations: list[str] = field(default_factory=list)
    deleted: bool = False

    @classmethod
    def of(cls, body: Json) -> "JobRecord":
        """The record of a job that is seen for the first time."""
        metadata, uid = body["metadata"], body["metadata"]["uid"]
        request = body["spec"].get("requestId") or uid
        return cls(metadata["name"], uid, request, time.monotonic())

    @property
    def finished(self) -> bool:
        """Whether a terminal status was seen."""
        return bool(self.terminal)

    @property
    def watched(self) -> bool:
        """Whether its end was seen, and not only found."""
        return self.finished and len(self.phases) > 1

    @property
    def reason(self) -> str:
        """The last reason seen."""
        return str(self.status.get("reason", ""))

    def note(self, body: Json) -> None:
        """Take in the job as it is now."""
        self.status = status = body.get("status") or {}
        phase, reason = status.get("phase", ""), status.get("reason", "")
        if not self.phases or self.phases[-1][1:] != (phase, reason):
            self.phases.append((time.monotonic(), phase, reason))
        if self.terminal:
            if fixed(status) != self.terminal:
                self.violations.append(f"changed after its end: {self.terminal} → {status}")
        elif phase in TERMINAL:
            self.terminal, self.finished_at = fixed(status), time.monotonic()
