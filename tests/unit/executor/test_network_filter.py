"""The program of the filter, run by a small interpreter: what the kernel does with each call."""

import errno
import os
import struct

import pytest

from nanogrid_executor.launcher import network_filter
from nanogrid_executor.launcher.network_filter import (
    ALLOW,
    HOLD,
    INTERFACES,
    REFUSE,
    X32_BIT,
    Interface,
    program,
)

pytestmark = pytest.mark.security

AF_UNIX, AF_INET = 1, 2
UPPER_HALF = 0xDEAD << 32
DOMAINS = [0, AF_INET, 10, 16, 17, 38, 40, 2**32 - 1, AF_INET | UPPER_HALF]
ALL = [(machine, each) for machine, found in INTERFACES.items() for each in found]
EACH = pytest.mark.parametrize(("machine", "interface"), ALL)


def run(machine: str, architecture: int, number: int, *args: int) -> int:
    """What the filter of this machine returns for a system call."""
    filled = [*args, *[0] * (6 - len(args))]
    data = struct.pack(
        "=iIQ6Q", struct.unpack("i", struct.pack("I", number))[0], architecture, 0, *filled
    )
    code = list(network_filter.INSTRUCTION.iter_unpack(program(INTERFACES[machine])))
    accumulator, at = 0, 0
    while True:
        operation, if_true, if_false, value = code[at]
        at += 1
        if operation == 0x20:  # BPF_LD | BPF_W | BPF_ABS
            (accumulator,) = struct.unpack_from("=I", data, value)
        elif operation == 0x06:  # BPF_RET | BPF_K
            return int(value)
        else:
            jumps = {
                0x15: accumulator == value,  # BPF_JEQ
                0x35: accumulator >= value,  # BPF_JGE
                0x45: bool(accumulator & value),  # BPF_JSET
            }
            at += if_true if jumps[operation] else if_false


@EACH
@pytest.mark.parametrize(
    "domain", [0, AF_INET, 10, 16, 17, 38, 40, 2**32 - 1, AF_INET | UPPER_HALF]
)
def test_sockets_of_other_domains_are_held(machine: str, interface: Interface, domain: int) -> None:
    for number in (interface.socket, interface.socketpair):
        assert run(machine, interface.architecture, number, domain, 1, 0) == HOLD
        assert run(machine, interface.architecture, number, AF_UNIX, domain, 0) == ALLOW
        # The kernel takes an int: the upper half makes no other domain of it.
        assert run(machine, interface.architecture, number, AF_UNIX | UPPER_HALF) == ALLOW


@EACH
def test_all_other_calls_are_allowed(machine: str, interface: Interface) -> None:
    """Also those that use sockets, which the code does not have."""
    held = {interface.io_uring_setup, interface.ptrace}
    tested = {interface.socket, interface.socketpair, interface.seccomp, interface.socketcall}
    for number in range(600):
        if number not in tested:
            expected = HOLD if number in held else ALLOW
            assert run(machine, interface.architecture, number, AF_INET) == expected, number


@pytest.mark.parametrize("machine", INTERFACES)
def test_socketcall_is_held_if_it_makes_sockets(machine: str) -> None:
    other = INTERFACES[machine][1]
    assert other.socketcall is not None
    answers = {call: run(machine, other.architecture, other.socketcall, call) for call in range(21)}
    assert {call for call, given in answers.items() if given == HOLD} == {1, 8}
    assert set(answers.values()) == {HOLD, ALLOW}


@EACH
def test_only_a_listener_is_refused_of_all_filters(machine: str, interface: Interface) -> None:
    listener = network_filter.NEW_LISTENER
    for operation, flags, expected in (
        (1, 0, ALLOW), (1, 1, ALLOW), (1, ~listener & 0xFF, ALLOW), (3, 0, ALLOW),
        (1, listener, REFUSE | errno.EBUSY), (1, listener | 1 << 5, REFUSE | errno.EBUSY),
    ):  # fmt: skip
        given = run(machine, interface.architecture, interface.seccomp, operation, flags)
        assert given == expected, (operation, flags)


def test_other_interfaces_do_not_exist() -> None:
    mine = {each.architecture for each in INTERFACES["x86_64"]}
    for architecture in (0, 0x40000028, 0xC00000B7, 0xC00000F3, 0xFFFFFFFF):
        assert architecture not in mine
        assert run("x86_64", architecture, 0, AF_UNIX) == REFUSE | errno.ENOSYS


def test_x32_does_not_exist() -> None:
    native = INTERFACES["x86_64"][0]
    for number in (0, 39, native.socket, native.socketpair, 546):
        given = run("x86_64", native.architecture, number | X32_BIT, AF_UNIX)
        assert given == REFUSE | errno.ENOSYS
    # A tracer writes -1 to skip a call.
    assert run("x86_64", native.architecture, 0xFFFFFFFF) == ALLOW


@pytest.mark.parametrize("machine", INTERFACES)
def test_the_kernel_accepts_the_program(machine: str) -> None:
    """Jumps end inside of it, and its last instruction returns."""
    code = list(network_filter.INSTRUCTION.iter_unpack(program(INTERFACES[machine])))
    assert len(code) < 4096
    assert code[-1][0] == network_filter.RETURN
    for at, (_, if_true, if_false, _) in enumerate(code):
        assert at + 1 + max(if_true, if_false) < len(code) or code[at][0] == network_filter.RETURN


def test_a_machine_without_a_table_is_not_filtered(monkeypatch: pytest.MonkeyPatch) -> None:
    names = list(os.uname())
    names[4] = "riscv64"
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(names))
    with pytest.raises(OSError, match="riscv64") as raised:
        network_filter.install()
    assert raised.value.errno == errno.ENOSYS
    monkeypatch.undo()
    monkeypatch.setattr("sys.maxsize", 2**31 - 1)
    with pytest.raises(OSError, match="no filter for this Python"):
        network_filter.install()
