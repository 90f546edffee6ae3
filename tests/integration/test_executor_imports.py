"""What the processes of a cold job import: each module costs CPU time of every job.

Times are not compared, because a busy machine changes them. The names and numbers of modules do
not change.
"""

import io
import json
import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

import nanogrid
import nanogrid_executor
from nanogrid import names, wire
from nanogrid_executor.paths import Paths
from support.executor_pod import WAIT_SECONDS, operator
from support.fake_s3 import Content, FakeS3
from support.s3_server import ACCESS_KEY, SECRET_KEY, make_rules, make_task

pytestmark = pytest.mark.integration

# The command of a pod's container has no options: its paths are set here instead.
PROGRAM = """
import sys
from nanogrid_executor import __main__
root, command = sys.argv.pop(), sys.argv.pop()
paths = __main__.Paths(root)
__main__.Paths = lambda root: paths
sys.argv = ["nanogrid_executor", command]
sys.exit(__main__.main())
"""
IMPORTED = re.compile(r"^import time:\s+\d+ \|\s+\d+ \|\s+(\S+)$", re.M)
# Each has a cheaper replacement, or is for other jobs.
HEAVY = {
    "argparse", "asyncio", "ctypes", "dataclasses", "email", "http.client", "inspect", "logging",
    "pathlib", "random", "shutil", "ssl", "stringprep", "subprocess", "tempfile", "traceback",
    "unicodedata", "urllib.parse", "urllib.request",
}  # fmt: skip
ARCHIVES = {"zipfile", "nanogrid.archive", "nanogrid_executor.inputs.unpack"}
# Python 3.13 needs a few less than 3.11. Whoever raises a number makes every cold job slower.
MOST_OF_AGENT = 130
MOST_OF_LAUNCHER = 74
MOST_OF_SYNC = 108


def program(launcher_dir: str) -> str:
    """What the command of a sandbox container names."""
    return f"{launcher_dir}/__main__.py"


def imported(log: str) -> list[str]:
    """The modules in the log of a process with ``-X importtime``."""
    found = IMPORTED.findall(log)
    assert "os" in found, log[-2000:]
    return found


def executor(
    command: str, task: wire.PodTask, paths: Paths, s3: FakeS3, url: str
) -> subprocess.Popen[str]:
    """A trusted container as the image runs it: without ``site``, packages on PYTHONPATH."""
    ours = [str(Path(each.__path__[0]).parent) for each in (nanogrid, nanogrid_executor)]
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join([*ours, sysconfig.get_path("platlib")]),
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        names.ENV_S3_ENDPOINT: s3.endpoint,
        names.ENV_TASK: wire.dumps(task),
        names.ENV_RESULTS_URL: url,
        names.ENV_RESULT_KEY: "k" * 43,
    }
    line = [sys.executable, "-S", "-X", "importtime", "-c", PROGRAM, command, paths.root]
    return subprocess.Popen(
        line, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def test_agent_and_launcher_of_a_cold_job_import_little(
    paths: Paths, launcher_dir: str, bucket: FakeS3
) -> None:
    task = make_task(bucket="b", outputs=make_rules("b"))
    launch = [sys.executable, "-I", "-S", "-X", "importtime", program(launcher_dir), paths.socket]
    with operator() as results:
        with executor("agent", task, paths, bucket, results.url) as agent:
            # Code is an interpreter too: its modules are not in the launcher's log.
            sandbox = subprocess.run(launch, capture_output=True, timeout=WAIT_SECONDS)
            log, _ = agent.communicate(timeout=WAIT_SECONDS)
        (body,) = results.bodies

    assert json.loads(body)["stored"], log
    assert json.loads(body)["result"]["status"] == wire.STATUS_SUCCESS
    by_agent, by_launcher = imported(log), imported(sandbox.stderr.decode())
    assert HEAVY & {*by_agent} == set()
    assert HEAVY & {*by_launcher} == {"ctypes"}  # for prctl and signalfd, which no module offers
    assert {"runpy", "typing"} & {*by_launcher} == set()
    assert len(by_agent) <= MOST_OF_AGENT, by_agent
    assert len(by_launcher) <= MOST_OF_LAUNCHER, by_launcher


def test_the_upload_of_outputs_is_imported_for_a_job_that_has_some(
    paths: Paths, launcher_dir: str, bucket: FakeS3
) -> None:
    code = "open('output/a.txt', 'w').write('x')"
    task = make_task(bucket="b", outputs=make_rules("b"), code_inline=code)
    launch = [sys.executable, "-I", "-S", program(launcher_dir), paths.socket]
    with operator() as results, executor("agent", task, paths, bucket, results.url) as agent:
        subprocess.run(launch, capture_output=True, timeout=WAIT_SECONDS)
        log, _ = agent.communicate(timeout=WAIT_SECONDS)

    assert "nanogrid_executor.outputs.upload" in imported(log)
    assert bucket.behaviour.puts["/b/outputs/r-1/a.txt"] == b"x"


def test_a_sync_imports_no_module_of_an_agent(paths: Paths, bucket: FakeS3) -> None:
    source = wire.S3Source(bucket="b", key="k")
    given = wire.Input(name="data", s3=source, mount_path="/app/data/k")
    task = make_task(bucket="b", inputs=[given])
    with executor("sync", task, paths, bucket, "") as sync:
        log, _ = sync.communicate(timeout=WAIT_SECONDS)

    assert sync.returncode == 0, log
    by_sync = imported(log)
    found = {*by_sync}
    assert HEAVY & found == {"unicodedata"}  # for the rules of names
    assert ARCHIVES & found == set()
    assert [name for name in found if name.startswith("nanogrid_executor.agent.")] == []
    assert len(by_sync) <= MOST_OF_SYNC, by_sync


def test_a_sync_imports_what_reads_zips_for_a_zip(paths: Paths, bucket: FakeS3) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as packed:
        packed.writestr("a.txt", "x")
    bucket.behaviour.stored["k.zip"] = Content(content.getvalue())
    source = wire.S3Source(bucket="b", key="k.zip")
    given = wire.Input(name="data", s3=source, mount_path="/app/data", unpack=True)
    with executor("sync", make_task(bucket="b", inputs=[given]), paths, bucket, "") as sync:
        log, _ = sync.communicate(timeout=WAIT_SECONDS)

    assert sync.returncode == 0, log
    found = {*imported(log)}
    assert found >= ARCHIVES
    assert {"dataclasses", "inspect", "traceback"} & found == set()
    assert Path(paths.real("/app/data/a.txt")).read_text() == "x"
