"""A seccomp filter that holds system calls which could give a process a network socket.

Standard library only; see :mod:`nanogrid_executor.launcher.network_hold`, which answers the calls.

The kernel decides with registers only: the number of the call and, for ``socket``, the domain. No
memory of the process counts, so a second thread cannot change what has been tested. Held are:

* ``socket`` and ``socketpair`` with another domain than AF_UNIX;
* ``io_uring_setup``: a ring can make sockets without ``socket``;
* ``ptrace``: on arm64 a tracer can change the domain after the filter has seen it.

A filter of the code itself cannot weaken this one, because the kernel takes the strictest answer.
Only a second listener could answer in our place, so it is refused, as the kernel itself does. Each
other system call interface of the machine has a table too, or does not exist: ENOSYS.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys

from nanogrid_executor.launcher.values import NamedTuple

TYPE_CHECKING = False  # see nanogrid_executor.launcher.values
if TYPE_CHECKING:
    from typing import Final

AF_UNIX: Final = 1
SYS_SOCKET: Final = 1  # the first argument of socketcall
SYS_SOCKETPAIR: Final = 8
X32_BIT: Final = 0x40000000
NO_CALL: Final = 0xFFFFFFFF  # a tracer skips a call with it; it is none

# linux/filter.h: load a word of the data, compare with a constant, return
LOAD: Final = 0x20
EQUAL: Final = 0x15
AT_LEAST: Final = 0x35
HAS_BITS: Final = 0x45
RETURN: Final = 0x06
INSTRUCTION: Final = struct.Struct("=HBBI")
# struct seccomp_data; the lower halves of arguments, of which the kernel takes an int
NUMBER: Final = 0
ARCHITECTURE: Final = 4
FIRST: Final = 16
SECOND: Final = 24

ALLOW: Final = 0x7FFF0000
HOLD: Final = 0x7FC00000  # SECCOMP_RET_USER_NOTIF
REFUSE: Final = 0x00050000  # SECCOMP_RET_ERRNO, plus the number of the error
PR_SET_NO_NEW_PRIVS: Final = 38
SET_MODE_FILTER: Final = 1
NEW_LISTENER: Final = 1 << 3
# SPEC_ALLOW: the runtime's own filter decides on mitigations that make code slower.
# WAIT_KILLABLE_RECV: only a signal that kills interrupts a held call, as for a socket() without a
# filter. A kernel that knows it (5.19) can also continue a call.
FLAGS: Final = 1 << 2 | NEW_LISTENER | 1 << 5


class Interface(NamedTuple):
    """The numbers of one system call interface; None: it has no such call."""

    architecture: int
    socket: int
    socketpair: int
    ptrace: int
    seccomp: int
    socketcall: int | None = None
    io_uring_setup: int = 425
    x32: bool = False  # calls with X32_BIT come through this interface too


# The first one is that of the machine, the others those of 32-bit programs.
INTERFACES: Final = {
    "x86_64": (
        Interface(0xC000003E, 41, 53, 101, 317, x32=True),
        Interface(0x40000003, 359, 360, 26, 354, socketcall=102),
    ),
    "aarch64": (
        Interface(0xC00000B7, 198, 199, 117, 277),
        Interface(0x40000028, 281, 288, 26, 383, socketcall=102),
    ),
}


class _Step(NamedTuple):
    """One instruction; a comparison that holds jumps to a label, else the next step follows."""

    code: int
    value: int
    target: str = ""
    label: str = ""


def program(interfaces: tuple[Interface, ...]) -> bytes:
    """The filter, as ``struct sock_filter`` one after another."""
    steps = [_Step(LOAD, ARCHITECTURE)]
    steps += [_Step(EQUAL, each.architecture, f"{each.architecture}") for each in interfaces]
    steps.append(_Step(RETURN, REFUSE | errno.ENOSYS))
    for each in interfaces:
        steps += _of_interface(each)
    steps += [
        _Step(LOAD, FIRST, label="socketcall"),
        _Step(EQUAL, SYS_SOCKET, "hold"),
        _Step(EQUAL, SYS_SOCKETPAIR, "hold"),
        _Step(RETURN, ALLOW),
        _Step(LOAD, FIRST, label="domain"),
        _Step(EQUAL, AF_UNIX, "allow"),
        _Step(RETURN, HOLD, label="hold"),
        _Step(LOAD, SECOND, label="seccomp"),
        _Step(HAS_BITS, NEW_LISTENER, "busy"),
        _Step(RETURN, ALLOW, label="allow"),
        _Step(RETURN, REFUSE | errno.EBUSY, label="busy"),
        _Step(RETURN, REFUSE | errno.ENOSYS, label="no such call"),
    ]
    return _assemble(steps)


def _of_interface(given: Interface) -> list[_Step]:
    steps = [_Step(LOAD, NUMBER, label=f"{given.architecture}")]
    if given.x32:
        steps += [_Step(EQUAL, NO_CALL, "allow"), _Step(AT_LEAST, X32_BIT, "no such call")]
    if given.socketcall is not None:
        steps.append(_Step(EQUAL, given.socketcall, "socketcall"))
    return [
        *steps,
        _Step(EQUAL, given.socket, "domain"),
        _Step(EQUAL, given.socketpair, "domain"),
        _Step(EQUAL, given.io_uring_setup, "hold"),
        _Step(EQUAL, given.ptrace, "hold"),
        _Step(EQUAL, given.seccomp, "seccomp"),
        _Step(RETURN, ALLOW),
    ]


def _assemble(steps: list[_Step]) -> bytes:
    """The instructions; all jumps go forward, as the kernel requires."""
    places = {step.label: at for at, step in enumerate(steps) if step.label}
    packed = []
    for at, (code, value, target, _) in enumerate(steps):
        jump = places[target] - at - 1 if target else 0
        packed.append(INSTRUCTION.pack(code, jump, 0, value))
    return b"".join(packed)


def install() -> int:
    """Filter this thread and all that it starts from now on; the descriptor of the listener.

    Raises:
        OSError: the kernel refused, or there is no table for this machine. Nothing is filtered.
    """
    machine = os.uname().machine
    interfaces = INTERFACES.get(machine)
    if interfaces is None or sys.maxsize <= 2**32:  # a 32-bit Python has other numbers
        raise OSError(errno.ENOSYS, f"no filter for this Python on {machine}")
    libc = ctypes.CDLL(None, use_errno=True)
    # The kubelet has set it (allowPrivilegeEscalation: false). Without it a filter needs root.
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS)")
    code = ctypes.create_string_buffer(program(interfaces))
    count = (len(code) - 1) // INSTRUCTION.size  # the buffer ends with a NUL
    given = ctypes.create_string_buffer(struct.pack("HP", count, ctypes.addressof(code)))
    fd = libc.syscall(interfaces[0].seccomp, SET_MODE_FILTER, FLAGS, given)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "seccomp(SECCOMP_SET_MODE_FILTER)")
    return int(fd)
