"""An operator whose clock is ten minutes off: no job ends early for that, and none is held up.

The process is given another time by libfaketime; its monotonic clock stays as it is, as it does
when somebody sets a machine's clock.
"""

import glob
import time

import pytest

from chaos.lab.laboratory import Laboratory
from chaos.labfixtures import proven
from chaos.ledger import Ledger
from chaos.proof import Starts
from chaos.scenarios import FAILURE, SUCCESS
from e2e.support import Namespace, inline

LIBRARIES = "/usr/lib/*/faketime/libfaketimeMT.so.1"
DEADLINE_SECONDS = 8


def skewed(skew: str) -> dict[str, str]:
    """The environment of a process whose clock is off; skips where libfaketime is missing."""
    found = glob.glob(LIBRARIES)
    if not found:
        pytest.skip("needs libfaketime: apt-get install faketime")
    return {"LD_PRELOAD": found[0], "FAKETIME": skew, "DONT_FAKE_MONOTONIC": "1"}


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("skew", ["-10m", "+10m"])
def test_operators_clock_is_ten_minutes_off(
    lab: Laboratory, ledger: Ledger, lab_starts: Starts, namespace: Namespace, skew: str
) -> None:
    operator = lab.operator(None, **skewed(skew)).start()
    operator.wait_ready()
    sleeping = lab_starts.marked("import time; time.sleep(12); print('ok')")
    endless = lab_starts.marked("import time; time.sleep(600)")
    began = time.monotonic()
    namespace.apply(
        SUCCESS.manifest("success", lab_starts),
        FAILURE.manifest("failure", lab_starts),
        inline("in-time", sleeping, activeDeadlineSeconds=300, ttlSecondsAfterFinished=300),
        inline("late", endless, activeDeadlineSeconds=DEADLINE_SECONDS),
        inline("brief", sleeping, timeouts={"startupSeconds": 120}),
    )
    wanted = {
        "success": "Completed",
        "failure": "NonZeroExit",
        "in-time": "Completed",
        "late": "DeadlineExceeded",
        "brief": "Completed",
    }
    records = {record.name: record for record in ledger.wait_finished(wanted, 120)}
    assert {name: record.reason for name, record in records.items()} == wanted
    ended = records["late"].finished_at - records["late"].seen
    print(f"clock {skew}: five jobs in {time.monotonic() - began:.1f} s, deadline {ended:.1f} s")
    assert ended >= DEADLINE_SECONDS - 1
    assert not records["in-time"].deleted
    proven(ledger, lab, lab_starts)
