"""Documented Python as scripts of their own that close nothing: they end normally."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.client_world import ClientWorld, client_world
from support.doc_blocks import blocks, script_of

pytestmark = pytest.mark.integration

PAGE = Path("docs/python.md")
MARKERS = {"", "gateway"}
BLOCKS = [(line, text) for marker, line, text in blocks(PAGE) if marker in MARKERS]
BEGIN = "from nanogrid.client import Client\nclient = Client()\n"
# Ends at different places: after a wait that is over, in the middle of a log, with open tunnels.
ENDS = {
    "a wait that is over": """
from nanogrid.client import WaitTimeout
try:
    client.run("import time; time.sleep(1)", on_output=print, wait_timeout=0.1)
except WaitTimeout:
    print("over")
""",
    "a log that is read in part": """
lines = client.submit("print(1); print(2)").logs()
print(next(lines))
""",
    "an open session": """
session = client.session(name="s")
print(session.execute("print(1)", on_stdout=print).stdout)
print(client.attach("s").health())
""",
    "an error with an open session": """
session = client.session(name="s").start()
print(session.execute("1 / 0").success)
import sys
sys.exit(0)
""",
    "an open asynchronous client": """
import asyncio
from nanogrid.client import AsyncClient

async def main():
    client = AsyncClient()
    session = await client.session(name="a")
    await session.execute("print(1)", on_stdout=print)
    print((await client.run("print(2)", on_output=print)).stdout)

asyncio.run(main())
""",
    "a daemon thread in a call": """
import threading
from nanogrid.client.kube.paths import jobs
follow = lambda: [print(one) for one in client.cluster.watch(jobs(client.namespace))]
threading.Thread(target=follow, daemon=True).start()
client.submit("print(1)").wait()
""",
}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ClientWorld]:
    with client_world(tmp_path) as found:
        for name, value in found.env.items():
            monkeypatch.setenv(name, value)  # the code of jobs runs in processes of this one
        yield found


def run(world: ClientWorld, script: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


@pytest.mark.parametrize(("line", "text"), BLOCKS, ids=[f"line {line}" for line, _ in BLOCKS])
def test_a_documented_block_ends_normally(world: ClientWorld, line: int, text: str) -> None:
    run(world, BEGIN + text)


def test_all_blocks_as_one_script_end_normally(world: ClientWorld) -> None:
    run(world, script_of(PAGE, MARKERS))


@pytest.mark.parametrize("end", ENDS)
def test_a_script_that_closes_nothing_ends_normally(world: ClientWorld, end: str) -> None:
    run(world, BEGIN + ENDS[end])
