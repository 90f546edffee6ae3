"""Lines of whole processes: of libraries, warnings, uncaught errors; the options of programs."""

import subprocess
import sys

import pytest

from support.log_lines import missing, parsed

SECONDS = 120
START = """
import asyncio, logging, sys, threading, warnings
from nanogrid import logs
from nanogrid.log_line import job_line_fields
logs.start("tested", {}, %r, "INFO")
JOB = job_line_fields("team-a", "sales", "uid-1", "r-1", 0)
"""
# Each writes one line; the text that it has, and its level.
EVENTS = {
    "import warnings; warnings.warn('old way')": ("old way", "WARNING"),
    "logging.getLogger('aiohttp.server').error('two\\nlines')": ("two", "ERROR"),
    "logging.getLogger('kopf.objects').warning('forged\\n%s', '2026')": ("forged", "WARNING"),
    "logging.getLogger('werkzeug').info('GET / %s', '200')": ("GET / 200", "INFO"),
    "raise ValueError('bad\\ninput')": ("bad", "CRITICAL"),
    "t = threading.Thread(target=lambda: 1 / 0); t.start(); t.join()": (
        "ZeroDivisionError",
        "ERROR",
    ),
    "logging.getLogger('nanogrid').info('%d', 'no number')": ("%d", "INFO"),
    "class A:\n    def __del__(self): raise OSError('late')\na = A(); del a": ("late", "ERROR"),
    "async def f():\n"
    "    asyncio.get_running_loop().call_exception_handler(\n"
    "        {'message': 'lost', 'exception': KeyError('k')})\n"
    "asyncio.run(f())": ("lost", "ERROR"),
    "async def bad(): raise OSError('no reader')\n"
    "async def f():\n"
    "    t = asyncio.create_task(bad()); await asyncio.sleep(0); await asyncio.sleep(0); del t\n"
    "asyncio.run(f())": ("never retrieved", "ERROR"),
}


def lines_of(code: str, style: str) -> list[dict[str, object]]:
    program = START % style + code
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=SECONDS
    )
    assert done.stdout == ""
    return parsed(done.stderr, style)


@pytest.mark.parametrize("style", ["json", "text"])
@pytest.mark.parametrize("code", EVENTS)
def test_every_line_of_a_process_has_the_form(code: str, style: str) -> None:
    text, level = EVENTS[code]

    (line,) = lines_of(code, style)

    assert line["level"] == level
    assert text in str(line)


def test_threads_and_tasks_are_about_the_same_job_and_background_work_about_none() -> None:
    code = """
from nanogrid.logs import about, background, note
from nanogrid.threads import Threads
log = logging.getLogger("nanogrid")
async def work():
    threads = Threads(1)
    with about({}):
        note(JOB)
        await threads.call(log.info, "own thread")
        await asyncio.to_thread(log.info, "thread")
        async def task(): log.info("task")
        await asyncio.create_task(task())
        async def shared(): log.info("background")
        later = background(shared())
        await later
    log.info("after")
    threads.close()
asyncio.run(work())
"""
    found = {line["message"]: missing(line) for line in lines_of(code, "json")}

    assert [found[name] for name in ("own thread", "thread", "task")] == [[], [], []]
    assert len(found["background"]) == len(found["after"]) == 5


# Each program with a setting that is missing or wrong, so that it ends after its first line.
PROGRAMS = {
    "operator": ["-m", "nanogrid_operator"],
    "gateway": ["-m", "nanogrid_gateway.server"],
    "router": ["-m", "nanogrid_gateway.router"],
    "egress": ["-m", "nanogrid_gateway.egress"],
    "self-test": ["-m", "nanogrid_operator.self_test"],
    "agent": ["-m", "nanogrid_executor", "agent"],
    "sync-input": ["-m", "nanogrid_executor", "sync"],
}
WRONG = {"NANOGRID_PORT": "x", "NANOGRID_SELF_TEST_TIMEOUT_SECONDS": "x", "NANOGRID_TASK": "{"}


def run(program: str, *options: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    env = {"PATH": "/usr/bin:/bin", **WRONG, **environment}
    command = [sys.executable, *PROGRAMS[program], *options]
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=SECONDS)


@pytest.mark.parametrize("program", PROGRAMS)
def test_each_program_logs_as_its_options_say(program: str) -> None:
    text = run(program, "--log-format", "text", NANOGRID_LOG_FORMAT="json")
    done = run(program, "--log-format=json", "--log-level=error", NANOGRID_LOG_LEVEL="DEBUG")

    for ended, style in ((text, "text"), (done, "json")):
        assert ended.returncode not in (0, None)
        lines = parsed(ended.stdout + ended.stderr, style)
        assert [line["level"] for line in lines] == ["CRITICAL"], ended
    (line,) = parsed(done.stdout + done.stderr, "json")
    assert line["component"] == program


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize(("option", "choice"), [("--log-format", "json"), ("--log-level", "DEBUG")])
def test_a_wrong_option_is_refused_with_the_choices(program: str, option: str, choice: str) -> None:
    done = run(program, option, "chatty")

    assert done.returncode == 2
    assert option in done.stderr
    assert choice in done.stderr
