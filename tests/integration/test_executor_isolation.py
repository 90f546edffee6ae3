"""Agent and launcher as real processes: user code cannot escape.

:mod:`test_forging_programs` shows that it cannot reach the launcher either.
"""

import time
from typing import Any

import pytest

from support.executor_pod import UNSHARE, can_unshare

pytestmark = [pytest.mark.integration, pytest.mark.security]


ESCAPE = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print("escaped", flush=True)
        time.sleep(60)
        print("survived", flush=True)
    os._exit(0)
time.sleep(0.5)
{last}
"""


@pytest.mark.skipif(not can_unshare(), reason="this machine allows no PID namespaces")
@pytest.mark.parametrize(("last", "status"), [("time.sleep(60)", "TIMEOUT"), ("", "SUCCESS")])
def test_pid_1_also_kills_daemons(run: Any, last: str, status: str) -> None:
    started = time.monotonic()
    ended = run(
        ESCAPE.format(last=last),
        wrap=UNSHARE,
        execution_timeout_seconds=2.0,
        termination_grace_seconds=0.5,
    )
    assert ended.result.status == status
    assert ended.result.stdout == "escaped\n"
    assert time.monotonic() - started < 8
