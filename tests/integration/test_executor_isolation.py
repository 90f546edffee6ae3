"""Agent and launcher as real processes: user code cannot escape.

:mod:`test_forging_programs` shows that it cannot reach the launcher either.
"""

from typing import Any

import pytest

from support.executor_pod import UNSHARE, can_unshare

pytestmark = [pytest.mark.integration, pytest.mark.security]


ESCAPE = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
shown, show = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print("escaped", flush=True)
        os.write(show, b"x")
        time.sleep(600)
        print("survived", flush=True)
    os._exit(0)
os.read(shown, 1)
{last}
"""


@pytest.mark.skipif(not can_unshare(), reason="this machine allows no PID namespaces")
@pytest.mark.parametrize(
    ("last", "seconds", "status"), [("time.sleep(600)", 3.0, "TIMEOUT"), ("", 60.0, "SUCCESS")]
)
def test_pid_1_also_kills_daemons(run: Any, last: str, seconds: float, status: str) -> None:
    """It ends the pod's streams, for whose end the test waits 60 s; the daemon sleeps longer."""
    ended = run(
        ESCAPE.format(last=last),
        wrap=UNSHARE,
        execution_timeout_seconds=seconds,
        termination_grace_seconds=0.5,
    )
    assert ended.result.status == status
    assert ended.result.stdout == "escaped\n"
