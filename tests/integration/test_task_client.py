"""How a pool's agent asks for its job: real HTTP, with all that can go wrong."""

import threading
from pathlib import Path

import pytest

from nanogrid import names, wire
from nanogrid_executor.agent.task_client import LINE_BYTES, TaskClient
from support.s3_server import free_port, make_task
from support.task_server import HEARTBEAT, Answer, TaskServer, task_server

pytestmark = pytest.mark.integration

GIVEN = wire.HandOver(task=make_task(stdin="ready"), result_key="k", role_session="default.hello")
LINE = wire.dumps(GIVEN).encode() + b"\n"


class Waits(list[float]):
    """The pauses between two questions; none of them takes time."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


@pytest.fixture
def token(tmp_path: Path) -> str:
    file = tmp_path / "token"
    file.write_text("the-token\n")
    return str(file)


def ask(server: TaskServer, token: str, waits: Waits, silence_seconds: float = 25.0) -> None:
    """The client gets the job in the end."""
    client = TaskClient(server.url, token, silence_seconds=silence_seconds, pause=waits)
    assert client.wait() == GIVEN


def test_the_job_is_the_first_line_with_text(token: str) -> None:
    waits = Waits()
    with task_server(Answer(lines=[HEARTBEAT, HEARTBEAT, LINE, b"more\n"])) as server:
        ask(server, token, waits)
    assert server.asked[0]["Authorization"] == "Bearer the-token"
    assert waits == []


def test_a_task_of_the_largest_size_and_in_small_pieces(token: str) -> None:
    large = wire.HandOver(task=make_task(code_inline="\x01é" * 30_000))
    line = wire.dumps(large).encode() + b"\n"
    pieces = [line[start : start + 1000] for start in range(0, len(line), 1000)]
    with task_server(Answer(lines=[HEARTBEAT, *pieces])) as server:
        assert TaskClient(server.url, token).wait() == large


def test_a_waiting_client_gets_the_job_when_there_is_one(token: str) -> None:
    got: list[wire.HandOver] = []
    with task_server() as server:
        client = TaskClient(server.url, token)
        thread = threading.Thread(target=lambda: got.append(client.wait()))
        thread.start()
        server.hand_over(GIVEN)
        thread.join(60)
    assert got == [GIVEN]


BROKEN = {
    "no leader": Answer(503),
    "too many": Answer(429),
    "not known yet": Answer(401),
    "forbidden": Answer(403),
    "an older operator": Answer(404),
    "redirect": Answer(302),
    "the end without a job": Answer(),
    "the end after a heartbeat": Answer(lines=[HEARTBEAT]),
    "a cut before the first line": Answer(then="cut"),
    "a cut after a heartbeat": Answer(lines=[HEARTBEAT], then="cut"),
    "a cut inside the line": Answer(lines=[LINE[:40]], then="cut"),
    "no JSON": Answer(lines=[b"<html>\n"]),
    "JSON of something else": Answer(lines=[b'{"task":{}}\n']),
    "a list": Answer(lines=[b"[1]\n"]),
    "no UTF-8": Answer(lines=[b"\xff\xfe\n"]),
    "nested": Answer(lines=[b"[" * 100_000 + b"\n"]),
    "a line without end": Answer(lines=[b"x" * (LINE_BYTES + 1)], then="hang"),
    "silence": Answer(then="hang"),
    "silence after a heartbeat": Answer(lines=[HEARTBEAT], then="hang"),
    "silence inside the line": Answer(lines=[LINE[:40]], then="hang"),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
def test_after_any_answer_without_a_job_it_asks_again(
    token: str, broken: Answer, capfd: pytest.CaptureFixture[str]
) -> None:
    waits = Waits()
    with task_server(broken, Answer(lines=[LINE])) as server:
        ask(server, token, waits, silence_seconds=0.5)
        assert len(server.asked) == 2
    assert len(waits) == 1
    assert 0 < waits[0] <= 0.1
    assert capfd.readouterr().out.count("task-not-asked") == 1


@pytest.mark.parametrize(("status", "longest"), [(503, 2.0), (429, 2.0), (401, 5.0), (404, 5.0)])
def test_the_pauses_grow_up_to_a_bound(token: str, status: int, longest: float) -> None:
    waits = Waits()
    with task_server(*[Answer(status)] * 12, Answer(lines=[LINE])) as server:
        ask(server, token, waits)
    bounds = [min(0.1 * 2**number, longest) for number in range(12)]
    assert all(most / 2 <= wait <= most for wait, most in zip(waits, bounds, strict=True))


def test_a_malformed_line_does_not_become_a_stream_of_questions(token: str) -> None:
    waits = Waits()
    with task_server(*[Answer(lines=[HEARTBEAT, b"{}\n"])] * 8, Answer(lines=[LINE])) as server:
        ask(server, token, waits)
    assert waits[-1] >= 1.0


class Clock:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("then", ["end", "cut"])
def test_an_answer_that_ends_after_a_while_is_followed_at_once(
    token: str, then: str, capfd: pytest.CaptureFixture[str]
) -> None:
    clock, waits = Clock(), Waits()
    with task_server(Answer(lines=[HEARTBEAT], then=then), Answer(lines=[LINE])) as server:
        server.on_ask = lambda: setattr(clock, "now", clock.now + 50.0)
        client = TaskClient(server.url, token, pause=waits, clock=clock)
        assert client.wait() == GIVEN
        assert len(server.asked) == 2
    assert waits == []
    assert capfd.readouterr().out == "", "that is no event"


def test_silence_after_an_outage_starts_with_short_pauses(token: str) -> None:
    clock, waits = Clock(), Waits()
    answers = [*[Answer(503)] * 6, Answer(then="hang"), Answer(lines=[LINE])]
    with task_server(*answers) as server:

        def pass_time() -> None:
            clock.now += 25.0 if len(server.asked) == 7 else 0.0

        server.on_ask = pass_time
        client = TaskClient(server.url, token, silence_seconds=0.5, pause=waits, clock=clock)
        assert client.wait() == GIVEN
    assert waits[5] > 1.0
    assert waits[6] <= 0.1


def test_it_asks_until_the_operator_listens_and_the_token_exists(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    url = f"http://127.0.0.1:{free_port()}{names.RESULTS_PATH}"
    waits = Waits()

    class EndedError(Exception):
        pass

    def pause(seconds: float) -> None:
        waits(seconds)
        if len(waits) == 3:
            raise EndedError

    with pytest.raises(EndedError):
        TaskClient(url, str(tmp_path / "none"), pause=pause).wait()
    assert capfd.readouterr().out.count("task-not-asked") == 1, "one line for one outage"
