"""Code that looks for a way around the filter that holds its network."""

import errno
import os
from collections.abc import Iterator

import pytest

from nanogrid_executor.launcher import network_filter
from nanogrid_executor.paths import Paths
from support.executor_pod import UNSHARE, can_unshare
from support.held_launcher import CANNOT_HOLD, PLATFORM, SOURCES, HeldLauncher, is_held, launcher
from support.waiting import wait_until

SYSTEM_PYTHON = "/usr/bin/python3"
DROP = ["setpriv", "--reuid=65532", "--regid=65532", "--clear-groups", "--no-new-privs"]
X86 = pytest.mark.skipif(os.uname().machine != "x86_64", reason="machine code of x86-64")

pytestmark = [
    pytest.mark.integration,
    pytest.mark.security,
    pytest.mark.skipif(not PLATFORM, reason="there is no filter for it"),
]

PRELUDE = f"""
import ctypes, errno, mmap, os, signal, socket, struct, sys, time
sys.path.insert(0, {SOURCES!r})
libc = ctypes.CDLL(None, use_errno=True)
def answer(result):
    return "done" if result >= 0 else errno.errorcode[ctypes.get_errno()]
def show(name, text):
    print(name, text, repr(time.monotonic()), flush=True)
print(os.getpid(), flush=True)
"""
# Calls through the 32-bit interface: int 0x80 with up to three arguments in registers.
INT_0X80 = """
code = bytes.fromhex(
    "53"        # push rbx
    "89f8"      # mov eax, edi
    "89f3"      # mov ebx, esi
    "4189c8"    # mov r8d, ecx
    "89d1"      # mov ecx, edx
    "4489c2"    # mov edx, r8d
    "cd80"      # int 0x80
    "5b"        # pop rbx
    "c3"        # ret
)
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(code)
kernel = ctypes.CFUNCTYPE(*[ctypes.c_int] * 5)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
libc.mmap.restype = ctypes.c_void_p
# Memory below 4 GiB for the arguments of socketcall: MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT
at = libc.mmap(None, 4096, 3, 0x62, -1, 0)
"""


@pytest.fixture
def held(paths: Paths, launcher_dir: str) -> Iterator[HeldLauncher]:
    with launcher(paths, launcher_dir) as started:
        assert started.hold() == ""
        yield started


def lines(held: HeldLauncher) -> list[list[str]]:
    return [line.split() for line in held.stdout.decode().splitlines()[1:]]


def run_held(held: HeldLauncher, code: str, number: int, name: str) -> str:
    """Run code whose attempt must wait in a system call; the attempt's answer afterwards."""
    held.start(PRELUDE + code)
    held.wait_for("\n")
    pid = int(held.stdout.split()[0])
    wait_until(lambda: is_held(pid, number) or held.end is not None)
    assert held.end is None, (held.end, held.stdout, held.stderr)
    assert name not in [line[0] for line in lines(held)]
    opened = held.open()
    held.succeed()
    (found,) = [line for line in lines(held) if line[0] == name]
    assert float(found[2]) > opened
    return found[1]


@X86
@pytest.mark.parametrize("way", ["socket", "socketcall"])
def test_the_32_bit_interface_waits_too(held: HeldLauncher, way: str) -> None:
    other = PLATFORM[1]
    assert other.socketcall is not None
    calls = {
        "socket": (other.socket, f"kernel({other.socket}, 2, 1, 0)"),
        "socketcall": (other.socketcall, f"kernel({other.socketcall}, 1, at, 0)"),
    }
    number, call = calls[way]
    code = f"""{INT_0X80}
assert kernel(20, 0, 0, 0) == os.getpid()
assert kernel({other.socket}, 1, 1, 0) > 2  # AF_UNIX
ctypes.memmove(at, struct.pack("III", 2, 1, 0), 12)
result = {call}
show("network", "done" if result > 2 else result)
"""
    assert run_held(held, code, number, "network") == "done"


@X86
def test_the_x32_interface_does_not_exist(held: HeldLauncher) -> None:
    held.start(
        PRELUDE + f'show("x32", answer(libc.syscall({network_filter.X32_BIT | 41}, 2, 1, 0)))'
    )
    held.succeed()
    assert lines(held)[0][1] == "ENOSYS"


def test_a_ring_cannot_be_made_before_the_proof(held: HeldLauncher) -> None:
    """A ring makes sockets in the kernel (IORING_OP_SOCKET), where no filter sees them."""
    number = PLATFORM[0].io_uring_setup
    code = f'show("ring", answer(libc.syscall({number}, 1, ctypes.create_string_buffer(120))))'
    assert run_held(held, code, number, "ring") in ("done", "EPERM", "ENOSYS")


def test_no_process_traces_another_one_before_the_proof(held: HeldLauncher) -> None:
    """A tracer could change the domain after the filter has seen it."""
    number = PLATFORM[0].ptrace
    code = f'show("traced", answer(libc.syscall({number}, 0, 0, 0, 0)))'
    assert run_held(held, code, number, "traced") == "done"


# A filter of the code's own, which gives the answer for `socket`.
FILTERS = f"""
from nanogrid_executor.launcher.network_filter import ALLOW, EQUAL, INSTRUCTION, LOAD, RETURN
def install(given, flags=0):
    steps = [(LOAD, 0, 0, 0), (EQUAL, 0, 1, {PLATFORM and PLATFORM[0].socket})]
    steps += [(RETURN, 0, 0, given), (RETURN, 0, 0, ALLOW)]
    code = ctypes.create_string_buffer(b"".join(INSTRUCTION.pack(*step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("HP", 4, ctypes.addressof(code)))
    return answer(libc.syscall({PLATFORM and PLATFORM[0].seccomp}, 1, flags, program))
"""
ACTIONS = {"allow": network_filter.ALLOW, "log": 0x7FFC0000, "trace": 0x7FF00000}


@pytest.mark.parametrize("action", ACTIONS.values(), ids=ACTIONS)
def test_a_filter_of_the_code_opens_nothing(held: HeldLauncher, action: int) -> None:
    code = f"""{FILTERS}
show("filter", install({action}))
socket.socket()
show("network", "done")
"""
    assert run_held(held, code, PLATFORM[0].socket, "network") == "done"
    assert lines(held)[0][1] == "done"


@pytest.mark.parametrize("action", [network_filter.REFUSE | errno.EACCES, network_filter.HOLD])
def test_control_a_filter_of_the_code_can_be_stricter(held: HeldLauncher, action: int) -> None:
    """It gives up the network for ever: also if it asks a listener that it cannot have."""
    code = f"""{FILTERS}
show("filter", install({action}))
show("network", answer(libc.socket(socket.AF_INET, socket.SOCK_STREAM, 0)))
"""
    held.start(PRELUDE + code)
    held.succeed()
    given = errno.ENOSYS if action == network_filter.HOLD else errno.EACCES
    assert [line[1] for line in lines(held)] == ["done", errno.errorcode[given]]


def test_code_cannot_answer_its_own_calls(held: HeldLauncher) -> None:
    """Control: a filter without a listener can be installed."""
    code = f"""{FILTERS}
for extra in (0, 1 << 5, 1 << 2, 1 << 6):
    show("listener", install(ALLOW, {network_filter.NEW_LISTENER} | extra))
show("filter", install(ALLOW))
"""
    held.start(PRELUDE + code)
    held.succeed()
    assert [line[1] for line in lines(held)] == ["EBUSY"] * 4 + ["done"]


@pytest.mark.skipif(not can_unshare(), reason="this machine allows no PID namespaces")
@pytest.mark.skipif(os.getuid() != 0, reason="needs root to drop its rights")
@pytest.mark.skipif(not os.access(SYSTEM_PYTHON, os.X_OK), reason="needs a Python for all users")
def test_the_listener_is_out_of_reach(paths: Paths, launcher_dir: str) -> None:
    """With the rights of a pod: PID 1 is the launcher, and has the same user ID as the code."""
    code = """
folder = "/proc/self/fd/"
own = [os.readlink(folder + fd) for fd in os.listdir(folder) if os.path.islink(folder + fd)]
show("own", sum("seccomp" in each for each in own))
try:
    show("folder", os.listdir("/proc/1/fd"))
except OSError as error:
    show("folder", errno.errorcode[error.errno])
pidfd = os.pidfd_open(1)
for number in range(3, 30):
    result = answer(libc.syscall(438, pidfd, number, 0))  # pidfd_getfd
    show("getfd", result)
child = os.fork()
if child == 0:
    time.sleep(60)
show("control", answer(libc.syscall(438, os.pidfd_open(child), 0, 0)))
os.kill(child, signal.SIGKILL)
for number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV):
    os.kill(1, number)
show("alive", os.getppid())
"""
    for folder in (paths.root, launcher_dir):
        os.chmod(folder, 0o755)
    old = os.umask(0)
    try:
        with launcher(paths, launcher_dir, [*UNSHARE, *DROP, SYSTEM_PYTHON]) as held:
            assert held.hold() == ""
            held.start(PRELUDE + code, python=SYSTEM_PYTHON)
            held.succeed()
    finally:
        os.umask(old)
    found = [(name, given) for name, given, _ in lines(held)]
    assert ("own", "0") in found
    assert ("folder", "EACCES") in found
    assert {given for name, given in found if name == "getfd"} <= {"EPERM"}
    assert ("control", "done") in found
    assert ("alive", "1") in found


def test_a_launcher_that_is_gone_lets_nothing_through(held: HeldLauncher) -> None:
    """A process that outlives it, which none does in a pod, has no network for ever."""
    path = os.path.join(os.path.dirname(held.sock.getsockname()), "answer")
    code = f"""
if os.fork() == 0:
    os.setsid()
    with open({path!r}, "w") as file:
        try:
            socket.socket()
            file.write("socket")
        except OSError as error:
            file.write(errno.errorcode[error.errno])
    os._exit(0)
time.sleep(60)
"""
    held.start(PRELUDE + code)
    wait_until(lambda: os.path.exists(path))
    held.process.kill()
    held.process.wait()
    wait_until(lambda: os.path.getsize(path) > 0)
    with open(path) as file:
        assert file.read() == errno.errorcode[errno.ENOSYS]
    os.killpg(held.pid, 9)


def test_a_launcher_that_cannot_hold_says_so(paths: Paths, launcher_dir: str) -> None:
    with launcher(paths, launcher_dir, CANNOT_HOLD) as started:
        assert "[Errno 22] seccomp" in started.hold()
        started.start("print('runs')")
        assert started.succeed() == "runs\n"


def test_a_launcher_whose_interpreter_waits_cannot_hold(paths: Paths, launcher_dir: str) -> None:
    """The interpreter has started without the filter. In a pod the test has passed by then."""
    option = f"--wait-interpreter={paths.workspace}"
    with launcher(paths, launcher_dir, None, option) as started:
        assert started.hold() == "an interpreter has started already"
