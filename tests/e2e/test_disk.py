"""User code fills every path that it can write: each has a bound, and the node is unharmed.

The paths are those of docs/limits.md. The jobs run at the same time, because the kubelet measures
volumes only once per minute.
"""

import json

import pytest

from nanogrid.types import Json
from support.kubectl import Namespace, eventually, inline
from support.node_conditions import unharmed_nodes

pytestmark = [pytest.mark.alone, pytest.mark.security]

FINISH_SECONDS = 250
MEBI = 1 << 20
LOG_BYTES = 3 * MEBI  # the launcher forwards 1 MiB of each stream, and a part of a read

# Blocks are allocated but not written, so that a test of GiBs is quick.
ALLOCATE = """
import os, time
for number in range({files}):
    fd = os.open(f'{where}/full-{{number}}', os.O_WRONLY | os.O_CREAT)
    os.posix_fallocate(fd, 0, {mebi} << 20)
print('full', flush=True)
time.sleep(600)
"""
WRITABLE = """
import json, os, stat
found = []
for folder, folders, files in os.walk('/'):
    if folder == '/':
        folders.remove('proc')
    for path in (folder, *(os.path.join(folder, name) for name in files)):
        try:
            kind = os.lstat(path).st_mode
        except FileNotFoundError:
            continue  # files of /sys come and go
        if (stat.S_ISDIR(kind) or stat.S_ISREG(kind)) and os.access(path, os.W_OK):
            found.append(path)
print(json.dumps(sorted(path for path in found if not path.startswith('/app/'))))
"""
TERMINATION = """
import os
print(os.listdir('/sys/firmware'))
for path in ('/dev/termination-log', '/sys/firmware/termination-log'):
    try:
        open(path, 'wb').write(bytes(200 << 20))
        print('written')
    except OSError as error:
        print(error.strerror)
"""
QUEUES = """
import errno, os
try:
    for number in range(1000):
        os.open(f'/dev/mqueue/{number}', os.O_RDWR | os.O_CREAT)
except OSError as error:
    print(errno.errorcode[error.errno])
"""
EXPECTED = {
    "tmp": "Evicted",
    "workspace": "Evicted",
    "writable": "Completed",
    "termination": "Completed",
    "queues": "Completed",
    "shm": "NonZeroExit",
    "file": "NonZeroExit",
    "log": "Completed",
}
JOBS: dict[str, Json] = {
    "tmp": inline("tmp", ALLOCATE.format(where="/tmp", files=2, mebi=150)),
    "workspace": inline("workspace", ALLOCATE.format(where="/app", files=3, mebi=750)),
    "writable": inline("writable", WRITABLE),
    "termination": inline("termination", TERMINATION),
    "queues": inline("queues", QUEUES),
    "shm": inline(
        "shm",
        "open('/dev/shm/full', 'wb').write(bytes(65 << 20))",
        resources={"limits": {"memory": "512Mi"}},
    ),
    "file": inline("file", "open('/app/large', 'wb').truncate(3 << 30)"),
    "log": inline("log", "for _ in range(20): print('x' * (1 << 20))"),
}


def test_every_writable_path_has_a_bound(namespace: Namespace) -> None:
    """About 90 s: the kubelet evicts the first two jobs."""
    nodes = unharmed_nodes()
    assert nodes
    namespace.apply(*JOBS.values())
    ends = {name: namespace.finished(name, FINISH_SECONDS) for name in JOBS}
    reasons = {name: end["reason"] for name, end in ends.items()}
    out = {name: end["result"]["stdout"] for name, end in ends.items()}

    assert reasons == EXPECTED
    for name in ("tmp", "workspace"):
        assert out[name] == "full\n", "the code could fill it"
        assert f'volume "{name}" exceeds the limit' in ends[name]["message"]
    assert json.loads(out["writable"]) == ["/app", "/dev/mqueue", "/dev/shm", "/tmp"]
    assert out["termination"].splitlines()[0] == "[]"
    assert "written" not in out["termination"]
    assert out["queues"].strip() in ("EMFILE", "ENOSPC")
    assert "No space left on device" in ends["shm"]["result"]["stderr"]
    assert "File too large" in ends["file"]["result"]["stderr"]
    log = namespace.kubectl("logs", namespace.only_pod("log")["metadata"]["name"], "-c", "sandbox")
    # The kubelet may have rotated the file, and shows the newest one: there is no lower bound.
    assert len(log) <= LOG_BYTES
    assert unharmed_nodes() == nodes
    assert namespace.run(inline("after", "print('works')"))["result"]["stdout"] == "works\n"


def test_the_agents_termination_message_still_arrives(namespace: Namespace) -> None:
    """The positive control of the sandbox's masked file: the operator recovers results from it."""
    namespace.run(inline("message", "print('kept')"))

    def ended() -> list[Json]:
        statuses = namespace.only_pod("message")["status"]["containerStatuses"]
        return statuses if all("terminated" in c["state"] for c in statuses) else []

    statuses = eventually("both containers have ended", ended)
    messages = {c["name"]: c["state"]["terminated"].get("message", "") for c in statuses}
    assert "kept" in messages["agent"]
    assert messages["sandbox"] == ""
