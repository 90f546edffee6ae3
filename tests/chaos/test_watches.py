"""Watches of the API server expire, are refused, are cut, or stop sending events.

A resync would hide a missed event, so most tests here run without one.
"""

import time

import pytest

from chaos.lab.apifaults import EXPIRED, GONE_EVENT, VERBS
from chaos.lab.faults import Cut, Stall
from chaos.lab.laboratory import Laboratory
from chaos.rig import Rig
from chaos.scenarios import SUCCESS, mixed
from support.kubectl import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

NO_RESYNC = "600"  # seconds, more than any test takes
END_SECONDS = 30.0


def wait_for_watches(lab: Laboratory) -> None:
    """Wait until the operator has opened its watches."""
    eventually("the watches are open", lambda: sum(c.watch for c in lab.api.calls) >= 2)


def test_watch_gets_an_expired_version(rig: Rig) -> None:
    rig.lab.operator(NANOGRID_RESYNC_SECONDS=NO_RESYNC).start().wait_ready()
    wait_for_watches(rig.lab)
    fault = rig.lab.api.fault(VERBS["watch"], GONE_EVENT, times=4)
    rig.lab.api.reset_connections()
    began = time.monotonic()
    rig.run_all(mixed(3, "gone"))
    print(f"410 on a watch, {fault.hits} times: 3 jobs in {time.monotonic() - began:.1f} s")
    assert fault.hits >= 2
    rig.verify()


def test_refused_watch_ends_the_process_and_the_next_one_continues(rig: Rig) -> None:
    """Kopf gives up a refused watch: no operator is better than one that gets no events."""
    operator = rig.lab.operator().start()
    operator.wait_ready()
    wait_for_watches(rig.lab)
    fault = rig.lab.api.fault(VERBS["watch"], EXPIRED, times=2)
    rig.lab.api.reset_connections()
    began = time.monotonic()
    eventually("the process ends", lambda: not operator.running, END_SECONDS)
    print(f"{fault.hits} watches refused: the process ended in {time.monotonic() - began:.1f} s")
    fault.remove()
    operator.start()  # as the kubelet does
    rig.run_all(mixed(3, "hearing"))
    rig.verify()


def test_watches_are_cut_repeatedly(rig: Rig) -> None:
    fault = rig.lab.api.fault(VERBS["watch"], Cut(2000, reset=True))
    rig.lab.operator(NANOGRID_RESYNC_SECONDS=NO_RESYNC).start().wait_ready()
    began = time.monotonic()
    rig.run_all(mixed(9, "cut"))
    print(f"{fault.hits} watches cut within {time.monotonic() - began:.1f} s of 9 jobs")
    assert fault.hits >= 3
    rig.verify()


@pytest.fixture
def silent_since(lab: Laboratory) -> float:
    """An operator whose watches get no more events; since when (monotonic seconds)."""
    fault = lab.api.fault(VERBS["watch"], Stall())
    lab.operator(NANOGRID_RESYNC_SECONDS=NO_RESYNC).start().wait_ready()
    eventually("the watches are open", lambda: fault.hits >= 2)
    fault.remove()  # open watches stay silent; new ones will work
    return time.monotonic()


def test_silent_watch_is_detected(rig: Rig, silent_since: float) -> None:
    rig.namespace.apply(SUCCESS.manifest("unheard", rig.starts))
    rig.ledger.wait_finished(["unheard"], 100)
    print(f"silent watches were detected after {time.monotonic() - silent_since:.1f} s")
    rig.verify()
