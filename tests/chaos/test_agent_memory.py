"""Our own containers run out of memory: the job says that it was they, and what to raise."""

import pytest

from chaos.lab.laboratory import Laboratory
from chaos.labfixtures import proven
from chaos.ledger import Ledger
from chaos.proof import Starts
from chaos.scenarios import INPUT_PREFIX, SUCCESS, WITH_INPUT, Scenario
from e2e.support import Namespace

TOO_LITTLE = "20Mi"  # for Python and what the containers import; enough for the runtime's own start


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        pytest.param(SUCCESS, "AgentFailed", id="agent"),
        pytest.param(WITH_INPUT, "SyncFailed", id="sync"),
    ],
)
def test_memory_of_our_own_containers_is_too_little(
    lab: Laboratory,
    ledger: Ledger,
    lab_starts: Starts,
    namespace: Namespace,
    kind: Scenario,
    reason: str,
) -> None:
    lab.s3_server.put(INPUT_PREFIX + "a.txt", b"input")
    lab.operator(None, NANOGRID_AGENT_MEMORY=TOO_LITTLE).start().wait_ready()
    namespace.apply(kind.manifest("starved", lab_starts))
    (record,) = ledger.wait_finished(["starved"], 90)
    print(f"{record.reason} after {record.finished_at - record.seen:.1f} s: {record.status}")
    assert record.reason == reason
    assert "OOMKilled" in record.status["message"]
    assert "sandbox.agent.memory" in record.status["message"]
    assert lab_starts.of("starved") == 0, "the code was not started"
    proven(ledger, lab, lab_starts)
