"""What the agent imports: a job pays for each module before its code starts."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from nanogrid import names, wire
from nanogrid_executor.paths import Paths
from support.s3_server import make_task

# Modules of pods that wait, of agents that sync, and of jobs with an egress proxy.
LATE = {
    "http.client",
    "nanogrid_executor.agent.egress_proxy",
    "nanogrid_executor.agent.input_sync",
    "nanogrid_executor.agent.task_client",
    "nanogrid_executor.agent.warm",
    "nanogrid_executor.inputs",
    "nanogrid_executor.inputs.sync",
    "nanogrid_executor.inputs.unpack",
    "nanogrid_executor.outputs.upload",
    "nanogrid_executor.storage",
    "obstore",
}
# Runs the agent until it would accept the launcher, and prints what is imported then.
UNTIL_ACCEPT = """
import json, os, sys
from nanogrid_executor import __main__
from nanogrid_executor.agent import {module}
def accept(*arguments):
    os.write(2, json.dumps(sorted(sys.modules)).encode())
    os._exit(0)
{module}.accept = accept
sys.argv = ["nanogrid_executor", "agent", "--root", sys.argv[1]]
__main__.main()
"""


def imported(paths: Paths, module: str, **environment: str) -> set[str]:
    """The modules that an agent has imported when it accepts the launcher."""
    done = subprocess.run(
        [sys.executable, "-c", UNTIL_ACCEPT.format(module=module), paths.root],
        env={**os.environ, **environment},
        capture_output=True,
        timeout=60,
        check=True,
    )
    return set(json.loads(done.stderr))


@pytest.mark.parametrize("changes", [{}, {"gate_port": 1, "bucket": "b"}])
def test_an_agent_of_a_job_imports_nothing_of_pools_and_of_the_sync(
    paths: Paths, changes: dict[str, Any]
) -> None:
    task = wire.dumps(make_task(**changes))
    found = imported(paths, "batch", **{names.ENV_TASK: task})
    assert "nanogrid_executor.agent.batch" in found
    assert found & LATE == set()


def test_an_agent_of_a_pool_imports_all_before_it_is_ready(paths: Paths) -> None:
    code = "import json, sys; from nanogrid_executor.agent import warm; warm.import_early()"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; print(json.dumps(sorted(sys.modules)))"],
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert set(json.loads(done.stdout)) >= LATE
