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


def test_the_gateway_of_the_default_route(monkeypatch: pytest.MonkeyPatch) -> None:
    table = "Iface\tDestination\tGateway\n{}eth0\t0000F40A\t00000000\n"
    for line, wanted in (("eth0\t00000000\t0100F40A\n", "10.244.0.1"), ("", None)):
        monkeypatch.setattr(Path, "read_text", lambda _, line=line: table.format(line))
        if wanted is None:
            with pytest.raises(OSError, match="no default route"):
                probe.default_gateway()
        else:
            assert probe.default_gateway() == wanted
