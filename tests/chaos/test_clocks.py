"""An operator whose clock is ten minutes wrong: no job ends early and none is delayed.

libfaketime changes the time of the process. Its monotonic clock stays correct, as when a machine's
clock is set.
"""

import glob
import time

import pytest

from chaos.rig import Rig
from chaos.scenarios import FAILURE, SUCCESS
from support.kubectl import inline

LIBRARIES = "/usr/lib/*/faketime/libfaketimeMT.so.1"
DEADLINE_SECONDS = 8


def skewed(skew: str) -> dict[str, str]:
    """The environment of a process with a wrong clock; skips the test without libfaketime."""
    found = glob.glob(LIBRARIES)
    if not found:
        pytest.skip("needs libfaketime: apt-get install faketime")
    return {"LD_PRELOAD": found[0], "FAKETIME": skew, "DONT_FAKE_MONOTONIC": "1"}


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("skew", ["-10m", "+10m"])
def test_operators_clock_is_ten_minutes_wrong(rig: Rig, skew: str) -> None:
    starts = rig.starts
    rig.lab.operator(None, **skewed(skew)).start().wait_ready()
    sleeping = starts.marked("import time; time.sleep(12); print('ok')")
    endless = starts.marked("import time; time.sleep(600)")
    began = time.monotonic()
    rig.namespace.apply(
        SUCCESS.manifest("success", starts),
        FAILURE.manifest("failure", starts),
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
    records = {record.name: record for record in rig.ledger.wait_finished(wanted, 120)}
    assert {name: record.reason for name, record in records.items()} == wanted
    ended = records["late"].finished_at - records["late"].first_seen
    print(f"clock {skew}: five jobs in {time.monotonic() - began:.1f} s, deadline {ended:.1f} s")
    assert ended >= DEADLINE_SECONDS - 1
    assert not records["in-time"].deleted
    rig.verify()
