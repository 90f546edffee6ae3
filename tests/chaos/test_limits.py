"""Memory and disks full: a named end, one result, one start.

The processes of the user's code use more than their limits; the kernel or the kubelet kills them.
"""

import pytest

from chaos.onejob import OneJob

QUICK = {"terminationGracePeriodSeconds": 1, "timeouts": {"uploadSeconds": 20}}
MEBI = 1 << 20
HOG = "bytearray(512 << 20)"
CHILD = f"""
import subprocess, sys
done = subprocess.run([sys.executable, "-c", {HOG!r}])
print("child", done.returncode, flush=True)
"""
SHARED = """
import os
print('begun', flush=True)
for n in range(64):
    with open(f'/dev/shm/{n}', 'wb') as f:
        f.write(os.urandom(1 << 20))
hog = bytearray(512 << 20)
"""
SMALL = {"limits": {"memory": "48Mi"}}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "code"),
    [("own", f"print('begun', flush=True)\nhog = {HOG}"), ("shared", SHARED)],
)
def test_code_exceeds_the_memory_limit(one_job: OneJob, name: str, code: str) -> None:
    """About 4 s each. Shared memory outlives the killed process, so the launcher may die too."""
    one_job.apply(f"hog-{name}", code, resources=SMALL)

    status = one_job.ends_with("Failed", "OOMKilled", f"hog-{name}")
    assert status["result"]["exitCode"] == 137
    assert status["result"]["stdout"] == "begun\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "end", "want"),
    [
        ("survived", "", ("Succeeded", "Completed", 0)),
        ("passed-on", "sys.exit(done.returncode and 1)", ("Failed", "NonZeroExit", 1)),
    ],
)
def test_child_process_exceeds_the_memory_limit(
    one_job: OneJob, name: str, end: str, want: tuple[str, str, int]
) -> None:
    """About 4 s each. The code handles a killed child itself: only its own exit code counts."""
    one_job.apply(f"child-{name}", CHILD + end, resources=SMALL)

    phase, reason, exit_code = want
    status = one_job.ends_with(phase, reason, f"child-{name}")
    assert status["result"]["exitCode"] == exit_code
    assert status["result"]["stdout"] == "child -9\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "mebi"),
    [pytest.param("/tmp", 300, id="tmp"), pytest.param("/app", 2200, id="workspace")],
)
def test_volume_beyond_its_size_limit(one_job: OneJob, where: str, mebi: int) -> None:
    """About 60 s each: the kubelet measures volumes once per minute."""
    code = (
        "import os, time\n"
        "for name in ('a', 'b'):\n"  # no single file may be as large as the volume
        f"    fd = os.open('{where}/' + name, os.O_WRONLY | os.O_CREAT)\n"
        f"    os.posix_fallocate(fd, 0, {mebi // 2 * MEBI})\n"
        "print('full', flush=True)\n"
        "time.sleep(600)"
    )
    one_job.apply("filled", code, **QUICK)

    status = one_job.ends_with("Failed", "Evicted", "filled")
    assert "exceeds the limit" in status["message"], "the kubelet's message names the volume"
    assert status["result"]["stdout"] == "full\n"


@pytest.mark.slow
def test_code_on_a_full_disk_gets_the_error_itself(one_job: OneJob) -> None:
    """About 4 s. /dev/shm is the only place where the sandbox gets ENOSPC at once: 64 MiB."""
    code = "open('/dev/shm/a', 'wb').write(bytes(65 << 20))"
    one_job.apply("enospc", code, resources={"limits": {"memory": "512Mi"}})

    status = one_job.ends_with("Failed", "NonZeroExit", "enospc")
    assert "No space left on device" in status["result"]["stderr"]


@pytest.mark.slow
def test_many_small_files_do_not_prevent_the_end(one_job: OneJob) -> None:
    """About 15 s. 50,000 inodes in /tmp: no limit of Kubernetes counts inodes."""
    code = "for n in range(50_000): open(f'/tmp/{n}', 'w').close()\nprint('made')"
    one_job.apply("inodes", code)

    status = one_job.ends_with("Succeeded", "Completed", "inodes")
    assert status["result"]["stdout"] == "made\n"
