"""The code that doctor runs in a sandbox, as a real process: it finds what it should find."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from nanogrid.cli.boundary import probe
from nanogrid.cli.boundary.report import Report, parse
from nanogrid.types import Json

MOST_SECONDS = 15
CANARY = "canary-7b1d"
QUIET: Json = {"processes": [2**22 + 1], "secrets": [], "folders": []}


def run_probe(targets: list[Json], env: dict[str, str] | None = None, **given: object) -> Report:
    """Run the probe as the sandbox does; it must print nothing but its report."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", probe.__file__],
        input=json.dumps(QUIET | given | {"targets": targets}),
        env=env or {},
        capture_output=True,
        text=True,
        timeout=MOST_SECONDS,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert CANARY not in done.stdout
    found = parse(done.stdout)
    assert found is not None, done.stdout
    return found


def target(name: str, port: int, expected: bool = False, host: str = "127.0.0.1") -> Json:
    return {"name": name, "host": host, "port": port, "open": expected}


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that answers no connection: its queue is full, so the kernel drops the others."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        port = server.getsockname()[1]
        waiting = []
        for _ in range(4):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
            waiting.append(client)
        yield port
        for client in waiting:
            client.close()


def test_everything_times_out(silent: int) -> None:
    targets = [target(f"t{n}", silent) for n in range(20)] + [target("control", silent, True)]
    found = run_probe(targets, connectSeconds=0.3, settleSeconds=0.1)
    assert {one.outcome for one in found.network.values()} == {"timeout"}
    assert len(found.network) == len(targets)


def test_the_rounds_end_before_the_job_is_stopped() -> None:
    rounds = [probe.DEFAULTS[f"{name}Seconds"] for name in ("round", "settle", "lastRound")]
    assert sum(rounds) < MOST_SECONDS


def test_open_refused_and_unresolved() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        targets = [
            target("control", port, True),
            target("name", 0, True, host="localhost"),
            target("open", port),
            target("unresolved", 80, host="no-such-name.invalid"),
        ]
        found = run_probe(targets, settleSeconds=0.1).network
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        refused = run_probe([target("refused", unused.getsockname()[1])]).network
    outcomes = {name: one.outcome for name, one in found.items()}
    assert outcomes == {
        "control": "open",
        "name": "open",
        "open": "open",
        "unresolved": "unresolved",
    }
    assert (found["control"].first, found["open"].first) == ("", "open")
    assert refused["refused"].outcome == "refused"


def test_a_policy_that_is_late() -> None:
    server = socket.create_server(("127.0.0.1", 0))

    def close_after_the_first() -> None:
        server.accept()[0].close()
        server.close()

    thread = threading.Thread(target=close_after_the_first)
    thread.start()
    found = run_probe([target("late", server.getsockname()[1])], settleSeconds=0.5).network["late"]
    thread.join()
    assert (found.first, found.outcome) == ("open", "refused")


def test_a_name_lookup_without_an_answer_does_not_block(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = threading.Event()

    def lookup(*_: object, **__: object) -> list[object]:
        answer.wait()
        raise socket.gaierror("too late")

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    found = probe.reach_all([target("a", 80), target("b", 80)], 0.1, 0.1)
    answer.set()
    assert {one["outcome"] for one in found.values()} == {"unresolved"}


def test_the_sandbox_is_examined_and_no_value_is_printed(tmp_path: Path) -> None:
    token = tmp_path / "serviceaccount" / "token"
    token.parent.mkdir()
    token.write_text(CANARY)
    env = {"AWS_ACCESS_KEY_ID": CANARY, "DB_PASSWORD": CANARY, "LANG": "C"}
    sleep = "import time; print(flush=True); time.sleep(60)"
    with subprocess.Popen(
        [sys.executable, "-c", sleep], env={"NANOGRID_TOKEN": CANARY}, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()  # it has replaced the environment of this process
        found = run_probe(
            [],
            env,
            processes=[other.pid],
            secrets=[str(tmp_path)],
            folders=[str(tmp_path), "/proc", str(tmp_path / "none")],
        )
        other.kill()
    assert found.variables == ["AWS_ACCESS_KEY_ID", "DB_PASSWORD"]
    assert found.secrets == [str(token)]
    assert found.writable == [str(tmp_path)]
    assert list(tmp_path.iterdir()) == [token.parent]
    assert found.processes.readable == [other.pid]
    assert found.processes.variables == ["NANOGRID_TOKEN"]
    assert set(found.processes.traceable) <= {other.pid}
    assert {"CapEff", "NoNewPrivs", "Seccomp"} <= set(found.privileges)


def test_nothing_is_found_where_nothing_is() -> None:
    found = run_probe([])
    assert (found.variables, found.secrets, found.writable) == ([], [], [])
    assert (found.processes.readable, found.processes.traceable) == ([], [])


NO_DEFAULT = "Iface\tDestination\tGateway\neth0\t0000F40A\t00000000\n"
ZERO = "0" * 32
LOCAL = f"fe80{'0' * 27}1"
GLOBAL = f"fd00{'0' * 27}2"


def routes(*lines: tuple[str, str, str]) -> str:
    """A table of IPv6 routes: destination, length, next hop."""
    fields = ("00000400 00000001 00000000 00000003", "eth0")
    return "".join(
        f"{to} {length} {ZERO} 00 {by} {fields[0]} {fields[1]}\n" for to, length, by in lines
    )


@pytest.mark.parametrize(
    ("ipv4", "ipv6", "wanted"),
    [
        (NO_DEFAULT + "eth0\t00000000\t0100F40A\n", None, "10.244.0.1"),
        (NO_DEFAULT, routes((GLOBAL, "80", ZERO), (ZERO, "00", LOCAL)), "fe80::1%eth0"),
        (None, routes((ZERO, "00", GLOBAL)), "fd00::2"),
        (NO_DEFAULT, routes((GLOBAL, "80", ZERO), (ZERO, "00", ZERO)), None),
        (None, None, None),
    ],
)
def test_the_gateway_of_the_default_route(
    tmp_path: Path, ipv4: str | None, ipv6: str | None, wanted: str | None
) -> None:
    tables = {"route": ipv4, "ipv6_route": ipv6}
    for name, text in tables.items():
        if text is not None:
            (tmp_path / name).write_text(text)
    paths = [str(tmp_path / name) for name in tables]
    if wanted is None:
        with pytest.raises(OSError, match="no default route"):
            probe.default_gateway(*paths)
    else:
        assert probe.default_gateway(*paths) == wanted


def test_one_open_address_of_a_name_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        port = server.getsockname()[1]
        closed = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))
        is_open = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0))
        for answers, outcome in (([closed, is_open], "open"), ([closed], "refused")):
            monkeypatch.setattr(socket, "getaddrinfo", lambda *_, a=answers, **__: a)
            assert probe.reach("both.example", port, 5.0)["outcome"] == outcome
