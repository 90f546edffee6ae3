"""Code that starts before its network is proven: calls for network sockets wait, others do not."""

import os
import signal
import time
from collections.abc import Iterator

import pytest

from nanogrid_executor.paths import Paths
from support.held_launcher import PLATFORM, HeldLauncher, is_held, launcher
from support.waiting import wait_until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.security,
    pytest.mark.skipif(
        os.uname().machine not in ("x86_64", "aarch64"), reason="there is no filter for it"
    ),
]

# Prints its PID, then what `call` gives, then the time: all processes of a machine have one clock.
ATTEMPT = """
import ctypes, errno, os, socket, time
libc = ctypes.CDLL(None, use_errno=True)
def answer(call):
    try:
        return str(call() is not None)
    except OSError as error:
        return errno.errorcode[error.errno]
print(os.getpid(), flush=True)
print("answer", answer(lambda: {call}), time.monotonic(), flush=True)
"""
# A kernel without the family answers EAFNOSUPPORT, and user code may not use all of them.
FAMILIES = {
    "inet": "socket.socket()",
    "inet6": "socket.socket(socket.AF_INET6)",
    "udp": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
    "raw": "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
    "netlink": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)",
    "packet": "socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM)",
    "vsock": "socket.socket(socket.AF_VSOCK)",
    "alg": "socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET)",
    "unknown": "socket.socket(44)",
    "upper half of the argument": "libc.syscall({socket}, ctypes.c_ulong(2 | 1 << 32), 1, 0)",
}
LOCAL = """
import asyncio, multiprocessing, os, socket, socketserver, threading
a, b = socket.socketpair()
a.sendall(b"x"); assert b.recv(1) == b"x"
socket.socket(socket.AF_UNIX).close()
async def nothing(): await asyncio.sleep(0)
asyncio.run(nothing())
if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(2) as pool:
        print(sum(pool.map(abs, [-1, -2, -3])))
    print(sorted(os.listdir("/proc/self/fd")) != [])
    print("done", flush=True)
"""


@pytest.fixture
def held(paths: Paths, launcher_dir: str) -> Iterator[HeldLauncher]:
    """A launcher that holds the network."""
    with launcher(paths, launcher_dir) as started:
        assert started.hold() == ""
        yield started


def first_pid(held: HeldLauncher) -> int:
    held.wait_for("\n")
    return int(held.stdout.split()[0])


def assert_held_until_open(held: HeldLauncher, call: str, number: int | None = None) -> str:
    """The answer to a call, which came after the network was proven."""
    held.start(ATTEMPT.replace("{call}", call))
    pid = first_pid(held)
    wait_until(lambda: is_held(pid, number))
    assert b"answer" not in held.stdout
    opened = held.open()
    _, _, given, at = held.succeed().split()
    assert float(at) > opened
    return given


@pytest.mark.parametrize("call", FAMILIES.values(), ids=FAMILIES)
def test_a_call_for_a_network_socket_waits_for_the_proof(held: HeldLauncher, call: str) -> None:
    given = assert_held_until_open(held, call.replace("{socket}", str(PLATFORM[0].socket)))
    assert given in ("True", "EPERM", "EAFNOSUPPORT", "EPROTONOSUPPORT", "ESOCKTNOSUPPORT")
    if call == FAMILIES["inet"]:
        assert given == "True"


def test_code_without_network_runs_to_its_end(held: HeldLauncher) -> None:
    """Control: the same code with one more line does not end."""
    held.start(LOCAL)
    assert held.succeed().split() == ["6", "True", "done"]


def test_control_the_same_code_with_a_network_socket_waits(held: HeldLauncher) -> None:
    held.start(f"{LOCAL}\nsocket.socket()\nprint('socket')")
    held.wait_for("done")
    wait_until(lambda: is_held(held.pid))
    assert held.end is None
    held.open()
    assert held.succeed().split()[-1] == "socket"


def test_control_without_the_hold_nothing_waits(paths: Paths, launcher_dir: str) -> None:
    with launcher(paths, launcher_dir) as started:
        started.start(ATTEMPT.replace("{call}", FAMILIES["inet"]))
        assert started.succeed().split()[2] == "True"


def test_calls_after_the_proof_are_answered_at_once(held: HeldLauncher) -> None:
    held.open()
    held.start("import socket\nfor _ in range(200): socket.socket().close()\nprint('all')")
    assert held.succeed() == "all\n"
    assert held.wait()["heldMillis"] == 0


MARKED = """
import os, socket, subprocess, sys, threading, time
def attempt(name):
    os.write(1, b"starts %s %d\\n" % (name, os.getpid()))
    socket.socket().close()
    os.write(1, b"socket %s %r\\n" % (name, time.monotonic()))
"""
TREE = f"""
{MARKED}
thread = threading.Thread(target=attempt, args=(b"thread",))
thread.start()
child = os.fork()
if child == 0:
    if os.fork() == 0:
        os.setsid()
        attempt(b"daemon")
        os._exit(0)
    attempt(b"child")
    os.wait()
    os._exit(0)
subprocess.run([sys.executable, "-c", sys.argv[1]])
thread.join()
os.wait()
"""


def test_threads_children_daemons_and_other_programs_wait(held: HeldLauncher) -> None:
    held.start(TREE, f"{MARKED}attempt(b'exec')")
    wait_until(lambda: held.stdout.count(b"starts") == 4)
    started = [line.split() for line in held.stdout.decode().splitlines()]
    for _, _, pid in started:
        wait_until(lambda pid=pid: is_held(int(pid)))
    assert b"socket" not in held.stdout
    opened = held.open()
    times = [line.split() for line in held.succeed().splitlines() if line.startswith("socket")]
    assert {name for _, name, _ in times} == {"thread", "daemon", "child", "exec"}
    assert all(float(at) > opened for _, _, at in times)


KILLS = """
import os, pathlib, signal, socket
for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        socket.socket()
        os._exit(0)
    while pathlib.Path(f"/proc/{child}/syscall").read_text().split()[0] != "{socket}":
        pass
    os.kill(child, number)
    print(os.WTERMSIG(os.waitpid(child, 0)[1]))
"""


def test_a_process_that_waits_can_be_killed(held: HeldLauncher) -> None:
    held.start(KILLS.replace("{socket}", str(PLATFORM[0].socket)))
    assert held.succeed().split() == ["9", "15", "2"]


def test_a_signal_that_is_handled_interrupts_no_call(held: HeldLauncher) -> None:
    """Nothing expects EINTR of socket(): it cannot happen without the filter."""
    code = f"""
import os, signal, socket
signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
{ATTEMPT.replace("{call}", FAMILIES["inet"])}
"""
    held.start(code)
    pid = first_pid(held)
    wait_until(lambda: is_held(pid))
    os.kill(pid, signal.SIGUSR1)
    held.open()
    assert {"handled", "True"} <= set(held.succeed().split())


def test_a_cancelled_process_that_waits_ends_by_the_signal(held: HeldLauncher) -> None:
    held.start(ATTEMPT.replace("{call}", FAMILIES["inet"]))
    wait_until(lambda: is_held(first_pid(held)))
    held.cancel()
    end = held.wait()
    assert (end["signal"], end["cancelled"]) == ("SIGTERM", True)
    assert b"answer" not in held.stdout


def test_a_cancelled_process_that_handles_the_signal_can_end_by_itself(held: HeldLauncher) -> None:
    code = f"""
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: print("cleans up", flush=True))
{ATTEMPT.replace("{call}", FAMILIES["inet"])}
sys.exit(7)
"""
    held.start(code)
    pid = first_pid(held)
    wait_until(lambda: is_held(pid))
    held.cancel()
    assert (held.wait()["exitCode"], held.wait()["cancelled"]) == (7, True)
    assert b"cleans up" in held.stdout
    assert b"answer ENETDOWN" in held.stdout


def test_code_that_does_not_wait_times_out(held: HeldLauncher) -> None:
    held.start("while True: pass", timeout=0.2)
    assert held.wait()["timedOut"]


def test_the_wait_does_not_count_in_the_timeout(held: HeldLauncher) -> None:
    """Control: the time afterwards counts."""
    held.start(f"{ATTEMPT.replace('{call}', FAMILIES['inet'])}\nwhile True: pass", timeout=1.0)
    pid = first_pid(held)
    wait_until(lambda: is_held(pid))
    over = time.monotonic() + 1.5
    wait_until(lambda: time.monotonic() > over)
    assert is_held(pid)
    held.open()
    held.wait_for("answer True")
    end = held.wait()
    assert end["timedOut"]
    assert 1500 <= end["heldMillis"] <= end["durationMillis"] - 500


def test_the_launcher_goes_on_when_its_agent_is_gone(held: HeldLauncher) -> None:
    """It kills the code, which never gets a socket."""
    held.start(ATTEMPT.replace("{call}", FAMILIES["inet"]))
    pid = first_pid(held)
    wait_until(lambda: is_held(pid))
    held.sock.shutdown(2)
    assert held.process.wait(60) != 0
    wait_until(lambda: not os.path.exists(f"/proc/{pid}"))
    assert b"answer" not in held.stdout
