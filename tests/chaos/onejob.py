"""One job on the release's operator under a fault: its pod, and its end wherever it is shown."""

import time
from dataclasses import dataclass
from typing import Any

from chaos.results import one_result
from chaos.starts import Starts
from nanogrid.types import Json
from support.kubectl import Namespace, condition, eventually, inline

SLEEPER = "import time; print('begun', flush=True); time.sleep(600)"


def running_pod(namespace: Namespace, starts: Starts, name: str) -> Json:
    """The job's only pod, once the user's code runs and the kubelet shows it."""
    eventually("the code has started", lambda: starts.count(name) == 1)
    eventually("the kubelet shows it", lambda: namespace.sandbox(name).get("running"))
    return namespace.only_pod(name)


@dataclass(frozen=True)
class OneJob:
    """One job of a test; its code is counted by ``starts``."""

    namespace: Namespace
    starts: Starts
    request_id: str

    def apply(self, name: str, code: str = SLEEPER, **spec: Any) -> None:
        """Apply a job with this code."""
        code = self.starts.marked(code, name)
        self.namespace.apply(inline(name, code, requestId=self.request_id, **spec))

    def run(self, name: str, code: str = SLEEPER, **spec: Any) -> Json:
        """Apply a job and wait until its code runs; returns its pod."""
        self.apply(name, code, **spec)
        return running_pod(self.namespace, self.starts, name)

    def ended(self, name: str) -> Json:
        """The status at the job's end; the result has the same end."""
        began = time.monotonic()
        status = self.namespace.finished(name)
        took = time.monotonic() - began
        print(
            f"{name}: {status['phase']} {status['reason']} after {took:.1f} s: {status['message']}"
        )
        kind = status["phase"].replace("Succeeded", "Complete")
        assert condition(status, kind)["status"] == "True"
        result = one_result(self.request_id)
        shown = status["reason"], status["result"].get("message", "")
        assert (result["reason"], result["message"]) == shown
        return status

    def ends_with(self, phase: str, reason: str, name: str, *, starts: int = 1) -> Json:
        """The status of :meth:`ended`; checks phase, reason and the number of starts."""
        status = self.ended(name)
        assert (status["phase"], status["reason"]) == (phase, reason)
        assert self.starts.count(name) == starts
        return status
