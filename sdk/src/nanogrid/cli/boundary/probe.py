"""Runs in a sandbox: attacks its boundary and prints what it could do as one line of JSON.

The text of this module is the code of a job, so it uses the standard library only. It reads its
targets from standard input. It opens connections and sends nothing. It prints names and
paths, never the value of a variable or the content of a file.
"""

import ctypes
import json
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Json = dict[str, Any]
MOST_NAMES = 10
MOST_ADDRESSES = 4  # of one name
GATEWAY = "@gateway"  # stands for the address of the pod's default route
PTRACE_SEIZE = 0x4206  # unlike ATTACH it does not stop the process
CREDENTIALS = re.compile(
    r"^(AWS_|NANOGRID_|KUBERNETES_|GOOGLE_|AZURE_)|SECRET|TOKEN|PASSWORD|CREDENTIAL"
)
STATUS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")
# What the input may replace; tests do.
DEFAULTS: Json = {
    "targets": [],
    "processes": [],  # all
    "secrets": ["/var/run/secrets", "/run/secrets"],
    "folders": ["/", "/etc", "/usr", "/opt", "/var", "/home", "/run/nanogrid", "/sys", "/dev"],
    "connectSeconds": 2.0,
    # A resolver repeats a query after 5 s, and some network plugins drop the first packet of a pod.
    "roundSeconds": 7.5,
    "settleSeconds": 2.0,  # a network plugin that is late has applied its policies by then
    "lastRoundSeconds": 4.0,
}


def default_gateway(ipv4: str = "/proc/net/route", ipv6: str = "/proc/net/ipv6_route") -> str:
    """The address of the default route; a pod may have IPv6 only."""
    for line in route_lines(ipv4)[1:]:
        fields = line.split()
        if fields[1] == "00000000" and fields[2] != "00000000":
            return socket.inet_ntoa(bytes.fromhex(fields[2])[::-1])
    for line in route_lines(ipv6):
        to, length, _, _, by, *_, device = line.split()
        if to == by or length != "00" or not int(by, 16):
            continue
        address = socket.inet_ntop(socket.AF_INET6, bytes.fromhex(by))
        return f"{address}%{device}" if address.startswith("fe80:") else address
    raise OSError("the pod has no default route")


def route_lines(path: str) -> list[str]:
    """The lines of a table of routes; none if the kernel lacks the family."""
    try:
        return Path(path).read_text().splitlines()
    except FileNotFoundError:
        return []


def reach(host: str, port: int, seconds: float) -> Json:
    """Open one connection within some seconds; port 0 only resolves the name.

    A name may have addresses of IPv4 and IPv6: one that is open decides.
    """
    try:
        host = default_gateway() if host == GATEWAY else host
        found = socket.getaddrinfo(host, port or None, type=socket.SOCK_STREAM)[:MOST_ADDRESSES]
    except OSError as error:
        return {"outcome": "unresolved", "detail": str(error)}
    tried = [attempt(family, address, seconds / len(found)) for family, _, _, _, address in found]
    return next((one for one in tried if one["outcome"] == "open"), tried[0])


def attempt(family: int, address: Any, seconds: float) -> Json:
    """Open one connection; port 0 opens none."""
    where = {"address": address[0]}
    try:
        if address[1]:
            with socket.socket(family, socket.SOCK_STREAM) as connection:
                connection.settimeout(seconds)
                connection.connect(address)
    except TimeoutError:
        return {**where, "outcome": "timeout"}
    except ConnectionRefusedError:
        return {**where, "outcome": "refused"}
    except OSError as error:
        return {**where, "outcome": "unreachable", "detail": str(error)}
    return {**where, "outcome": "open"}


def reach_all(targets: list[Json], seconds: float, connect_seconds: float) -> dict[str, Json]:
    """Try all targets at the same time; a target without an answer in time is unresolved."""
    found: dict[str, Json] = {}

    def try_one(target: Json) -> None:
        found[target["name"]] = reach(target["host"], target["port"], connect_seconds)

    # A name lookup cannot be stopped, so no thread may keep the process alive.
    threads = [threading.Thread(target=try_one, args=(one,), daemon=True) for one in targets]
    end = time.monotonic() + seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    late = {"outcome": "unresolved", "detail": f"no answer from DNS within {seconds} s"}
    return {one["name"]: found.get(one["name"], late) for one in targets}


def network(given: Json) -> dict[str, Json]:
    """Try all targets, and once more those with a result that is not the expected one."""
    targets, connect_seconds = given["targets"], given["connectSeconds"]
    found = reach_all(targets, given["roundSeconds"], connect_seconds)
    unexpected = [
        one for one in targets if (found[one["name"]]["outcome"] == "open") != one["open"]
    ]
    if unexpected:
        time.sleep(given["settleSeconds"])
        second_round = reach_all(unexpected, given["lastRoundSeconds"], connect_seconds)
        for name, second in second_round.items():
            found[name] = {**found[name], **second, "first": found[name]["outcome"]}
    return found


def privileges() -> dict[str, str]:
    """Capabilities, NoNewPrivs and seccomp mode; a kernel may leave some out."""
    pairs = (line.partition(":") for line in Path("/proc/self/status").read_text().splitlines())
    return {name: value.strip() for name, _, value in pairs if name in STATUS}


def credential_names(names: Iterable[str]) -> list[str]:
    """The names that look like those of credentials."""
    return sorted(name for name in names if CREDENTIALS.search(name))[:MOST_NAMES]


def secret_files(folders: list[str]) -> list[str]:
    """The paths of files in the folders of Secrets and tokens."""
    found = {
        os.path.realpath(os.path.join(folder, name))
        for top in folders
        for folder, _, files in os.walk(top)
        for name in files
    }
    return sorted(found)[:MOST_NAMES]


def writable(folders: list[str]) -> list[str]:
    """The folders in which a file can be created; it is removed at once."""
    found = []
    for folder in folders:
        path = os.path.join(folder, f"nanogrid-doctor-{os.getpid()}")
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            os.unlink(path)
        except OSError:
            continue  # this is what must happen
        found.append(folder)
    return found


def environ_of(pid: int) -> list[str] | None:
    """The names of another process's variables; None if they cannot be read."""
    try:
        text = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
    except OSError:
        return None
    return [one.partition("=")[0] for one in text.split("\0") if one] or None


def traceable(pid: int) -> bool:
    """Whether the process can be traced. The kernel releases it when this process ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long] * 4
    libc.ptrace.restype = ctypes.c_long
    return bool(libc.ptrace(PTRACE_SEIZE, pid, 0, 0) == 0)


def processes(pids: list[int]) -> Json:
    """What the other processes of the sandbox show."""
    own = os.getpid()
    pids = pids or [int(name) for name in os.listdir("/proc") if name.isdigit()]
    environs = {pid: environ_of(pid) for pid in pids if pid != own}
    readable = {pid: names for pid, names in environs.items() if names}
    names = {name for found in readable.values() for name in found}
    return {
        "readable": sorted(readable)[:MOST_NAMES],
        "variables": credential_names(names),
        "traceable": [pid for pid in sorted(environs)[:MOST_NAMES] if traceable(pid)],
    }


def main() -> None:
    """Read the input, attack, print the result."""
    given = {**DEFAULTS, **json.loads(sys.stdin.read() or "{}")}
    found = {
        "network": network(given),
        "uid": os.getuid(),
        "groups": sorted({os.getgid(), *os.getgroups()}),
        "privileges": privileges(),
        "variables": credential_names(os.environ),
        "secrets": secret_files(given["secrets"]),
        "writable": writable(given["folders"]),
        "processes": processes(given["processes"]),
    }
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
