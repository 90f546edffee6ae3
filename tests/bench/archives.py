"""Measures the refusal of each hostile archive: seconds and MiB, each in a process of its own.

PYTHONPATH=tests python -m bench.archives
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from support.archive_cases import REFUSED
from support.hostile_archives import nested

MOST_SECONDS = 1.0
MOST_MIB = 64.0
REFUSE = """
import sys, time
from nanogrid import archive
from nanogrid_executor.inputs.archive import extract
def high_water():  # not ru_maxrss, which begins with the value of the parent process
    return int(next(line for line in open("/proc/self/status") if "VmHWM" in line).split()[1])
before = high_water()
started = time.monotonic()
reason = "unpacked"
try:
    with open(sys.argv[1], "rb") as file, archive.opened(file) as opened:
        extract(opened, sys.argv[2])
except archive.ArchiveError as error: reason = error.reason.value
print(reason, time.monotonic() - started, (high_water() - before) / 1024)
"""


def cost(data: bytes) -> tuple[str, float, float]:
    """The reason, seconds, and MiB above those of the interpreter."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.zip")
        path.write_bytes(data)
        command = [sys.executable, "-c", REFUSE, str(path), folder]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    reason, seconds, mebibytes = done.stdout.split()
    return reason, float(seconds), float(mebibytes)


def main() -> int:
    """Print all, the slowest first; 1 when one exceeds a limit."""
    cases = {name: build for name, (build, _) in REFUSED.items()} | {"nested bomb": nested}
    rows = sorted(((*cost(build()), name) for name, build in cases.items()), key=lambda r: -r[1])
    print(f"{'archive':42} {'ms':>8} {'MiB':>6}  end")
    for reason, seconds, mebibytes, name in rows:
        print(f"{name:42} {seconds * 1000:8.1f} {mebibytes:6.1f}  {reason}")
    over = [row for row in rows if row[1] > MOST_SECONDS or row[2] > MOST_MIB]
    print(f"{len(rows)} archives, {len(over)} over {MOST_SECONDS} s or {MOST_MIB} MiB")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
