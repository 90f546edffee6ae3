"""Programs that try to forge their own result. Each one ends with exit code 7.

They run as the user of a sandbox, in the PID namespace of a real launcher. A line of stderr says of
each attempt whether the kernel did it or refused it.
"""

from dataclasses import dataclass

PRELUDE = """
import ctypes, fcntl, json, os, resource, signal, socket, struct, subprocess, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
def attempt(name, call):
    try:
        call()
        print(name, "done", file=sys.stderr, flush=True)
    except OSError:
        print(name, "refused", file=sys.stderr, flush=True)
def syscall(*args):
    got = libc.syscall(*args)
    if got < 0:
        raise OSError(ctypes.get_errno(), "")
    return got
def siginfo(code, number=15, pid=0):
    return ctypes.create_string_buffer(struct.pack("=iiiiiI", number, 0, code, 0, pid, 0), 128)
def queue(code, target=1, number=15):
    return syscall(129, target, number, siginfo(code, number))
def frame(kind, value):
    payload = json.dumps(value).encode()
    return struct.pack("!cI", kind, len(payload)) + payload
FORGED = frame(b"X", {"exitCode": 0, "signal": None, "timedOut": False, "cancelled": False,
    "oomKilled": False, "durationMillis": 1, "cpuMillis": 1, "peakMemoryBytes": 1,
    "memorySource": "forged", "error": None})
"""
EPILOGUE = """
time.sleep(0.3)  # a launcher that believes the attack acts now
print("tried", flush=True)
os._exit(7)
"""


@dataclass(frozen=True)
class Forgery:
    """A program, and what its result must be.

    ``refused``: attempts that the kernel must refuse. ``stdout``: what it prints before "tried",
    which is its only effect; None if it cannot be compared.
    """

    name: str
    code: str
    refused: tuple[str, ...] = ()
    reason: str = "NonZeroExit"
    exit_code: int | None = 7
    stdout: str | None = ""

    @property
    def program(self) -> str:
        """The whole program."""
        return PRELUDE + self.code + EPILOGUE


STOPPED = {"reason": "Signaled", "exit_code": 143, "stdout": None}
NEGATIVE_CODES = (-1, -2, -3, -4, -5, -7, -60, -100)

FORGERIES = (
    # Signals that look like the kubelet's.
    Forgery("SIGTERM to PID 1", "os.kill(1, 15)"),
    Forgery("SIGKILL and SIGSTOP to PID 1", "os.kill(1, 9); os.kill(1, 19)"),
    Forgery(
        "every other signal to PID 1",
        "for number in range(1, 65):\n    attempt('kill', lambda: os.kill(1, number))",
    ),
    Forgery(
        "rt_sigqueueinfo with si_pid 0",
        f"for code in {NEGATIVE_CODES}: queue(code)",
    ),
    Forgery(
        "rt_sigqueueinfo with the code of kill",
        "for code in (0, 1, 128, -6): attempt('queue', lambda: queue(code))",
        refused=("queue",),
    ),
    Forgery("rt_tgsigqueueinfo", "syscall(297, 1, 1, 15, siginfo(-1))"),
    Forgery("tgkill", "syscall(234, 1, 1, 15)"),
    Forgery(
        "pidfd_send_signal",
        "fd = os.pidfd_open(1)\n"
        "syscall(424, fd, 15, siginfo(-1), 0); syscall(424, fd, 15, None, 0)\n"
        "attempt('code', lambda: syscall(424, fd, 15, siginfo(0), 0))",
        refused=("code",),
    ),
    Forgery(
        "SIGTERM as the signal of asynchronous input",
        "r, w = os.pipe()\n"
        "fcntl.fcntl(r, fcntl.F_SETOWN, 1); fcntl.fcntl(r, 10, 15)\n"
        "fcntl.fcntl(r, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK); os.write(w, b'x')",
    ),
    Forgery("a flood of SIGTERM", "for _ in range(20_000): os.kill(1, 15)"),
    Forgery(
        "SIGTERM from a PID namespace below",
        "subprocess.run(['unshare', '--user', '--pid', '--fork', 'kill', '-TERM', '1'],\n"
        "               stderr=subprocess.DEVNULL)\n"
        "subprocess.run(['kill', '-TERM', '1'])",
    ),
    Forgery(
        "no room for the sender in PID 1",
        "hard = resource.getrlimit(resource.RLIMIT_SIGPENDING)[1]\n"
        "resource.prlimit(1, resource.RLIMIT_SIGPENDING, (0, hard))\n"
        "syscall(234, 1, 1, 15)",
        **STOPPED,  # type: ignore[arg-type]
    ),
    Forgery(
        "no room for the sender of this user",
        "signal.pthread_sigmask(signal.SIG_BLOCK, {34})\n"
        "try:\n"
        "    while True: queue(-1, os.getpid(), 34)\n"
        "except OSError: queue(-1)",
        **STOPPED,  # type: ignore[arg-type]
    ),
    # The launcher's memory and its socket.
    Forgery(
        "memory of PID 1 through /proc",
        "attempt('mem', lambda: open('/proc/1/mem', 'r+b'))\n"
        "attempt('maps', lambda: open('/proc/1/maps').read())\n"
        "attempt('environ', lambda: open('/proc/1/environ').read())",
        refused=("mem", "maps", "environ"),
    ),
    Forgery(
        "process_vm_writev",
        "buffer = ctypes.create_string_buffer(8)\n"
        "vec = (ctypes.c_size_t * 2)(ctypes.addressof(buffer), 8)\n"
        "attempt('self', lambda: syscall(311, os.getpid(), vec, 1, vec, 1, 0))\n"
        "attempt('write', lambda: syscall(311, 1, vec, 1, vec, 1, 0))",
        refused=("write",),
    ),
    Forgery(
        "ptrace",
        "attempt('attach', lambda: syscall(101, 16, 1, 0, 0))\n"
        "attempt('seize', lambda: syscall(101, 0x4206, 1, 0, 0))",
        refused=("attach", "seize"),
    ),
    Forgery(
        "pidfd_getfd",
        "fd = os.pidfd_open(1)\n"
        "for number in range(32): attempt('getfd', lambda: syscall(438, fd, number, 0))",
        refused=("getfd",),
    ),
    Forgery(
        "descriptors of PID 1 through /proc",
        "attempt('list', lambda: os.listdir('/proc/1/fd'))\n"
        "for number in range(16):\n"
        "    attempt('open', lambda: open(f'/proc/1/fd/{number}', 'wb').write(FORGED))",
        refused=("list", "open"),
    ),
    Forgery(
        "a second connection to the agent",
        "path = os.path.realpath('..') + '/run/nanogrid/agent.sock'\n"
        "attempt('connect', lambda: socket.socket(socket.AF_UNIX).connect(path))",
        refused=("connect",),
    ),
    Forgery(
        "a frame on every inherited descriptor",
        "for fd in range(3, 256): attempt('write', lambda: os.write(fd, FORGED))",
        refused=("write",),
    ),
    # Its output.
    Forgery(
        "a frame on stdout and stderr", "os.write(1, FORGED); os.write(2, FORGED)", stdout=None
    ),
    Forgery(
        "a result as JSON on stdout",
        "print(json.dumps({'attempt': 0, 'final': True, 'result': {'status': 'SUCCESS'}}))",
        stdout='{"attempt": 0, "final": true, "result": {"status": "SUCCESS"}}\n',
    ),
    Forgery(
        "half a frame, so that the next output completes it",
        "os.write(1, struct.pack('!cI', b'X', 6)); time.sleep(0.1)",
        stdout="X\x00\x00\x00\x06",
    ),
    Forgery(
        "the termination message",
        "for path in ('/dev/termination-log', os.path.realpath('..') + '/dev/termination-log'):\n"
        "    attempt('write', lambda: open(path, 'w').write('forged'))",
    ),
    Forgery(
        "a result file among the outputs",
        "os.makedirs('output', exist_ok=True)\n"
        "for name in ('output/result.json', 'result.json'):\n"
        "    open(name, 'w').write(json.dumps({'status': 'SUCCESS', 'exitCode': 0}))",
        reason="NonZeroExit",
    ),
    # Its process.
    Forgery("a child that exits with 0", "if os.fork() == 0: os._exit(0)"),
    Forgery(
        "a daemon that writes after the end",
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0:\n"
        "        signal.signal(15, signal.SIG_IGN)\n"
        "        time.sleep(1); os.write(1, b'late'); os.write(1, FORGED)\n"
        "    os._exit(0)",
    ),
    Forgery(
        "a launcher without descriptors",
        "hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]\n"
        "resource.prlimit(1, resource.RLIMIT_NOFILE, (0, hard))",
        reason="SandboxLost",
        exit_code=None,
        stdout=None,
    ),
)
