"""Lines of the platform's containers in sandbox pods, and of the launcher: the form of all."""

import json
import threading
from collections.abc import Iterator

import pytest

from nanogrid.log_line import FORMATS, JOB_FIELDS, job_line_fields, log_line
from nanogrid_executor import log
from nanogrid_executor.launcher import own_log
from support.builders import golden
from support.log_lines import missing, of_json, parsed

JOB = job_line_fields("team-a", "sales", "uid-1", "order $(1) 판매", 2)


@pytest.fixture(autouse=True)
def own_state(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(log, "_process", log._Process())
    hook = threading.excepthook
    import sys

    system = sys.excepthook
    yield
    threading.excepthook, sys.excepthook = hook, system


@pytest.mark.parametrize("style", FORMATS)
def test_each_line_of_each_thread_has_the_job(
    style: str, capsys: pytest.CaptureFixture[str]
) -> None:
    log.start("agent", style)
    log.about(JOB)

    log.log("stream-stored", key="a b", bytes=3)
    thread = threading.Thread(target=lambda: log.warn("s3-retry", error="two\nlines"))
    thread.start()
    thread.join()
    failing = threading.Thread(target=lambda: json.loads("{"), name="meanwhile")
    failing.start()
    failing.join()

    first, second, third = parsed(capsys.readouterr().out, style)
    for line in (first, second, third):
        assert missing(line) == []
        assert (line["requestId"], line["attempt"], line["logger"]) == (
            "order $(1) 판매", 2, "nanogrid.agent",
        )  # fmt: skip
    assert (first["message"], first["key"], first["bytes"]) == ("stream-stored", "a b", 3)
    assert (first["level"], second["level"], third["level"]) == ("INFO", "WARNING", "ERROR")
    assert (second["error"], third["thread"]) == ("two\nlines", "meanwhile")
    assert "JSONDecodeError" in str(third["exception"])


def test_the_level_of_the_environment_holds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NANOGRID_LOG_LEVEL", "WARNING")
    monkeypatch.setenv("NANOGRID_LOG_FORMAT", "json")
    log.start("sync-input")

    log.log("sync-start")
    log.warn("sync-failed")

    (line,) = of_json(capsys.readouterr().out)
    assert (line["message"], line["component"]) == ("sync-failed", "sync-input")


@pytest.mark.parametrize("style", FORMATS)
@pytest.mark.parametrize("text", ["lost the agent: [Errno 104]", "context 'a\nb' \x1b ended"])
def test_the_launcher_logs_as_the_others(style: str, text: str) -> None:
    arguments = ["launcher", f"--log-format={style}", f"--log-job={json.dumps(JOB)}"]

    (found,) = parsed(own_log.line(arguments, "ERROR", text, 1764538463.25), style)
    (other,) = parsed(
        log_line(
            style,
            seconds=1764538463.25,
            level="ERROR",
            component="launcher",
            logger=own_log.LOGGER,
            message=text,
            fields=JOB,
        ),
        style,
    )
    assert found == other


def test_the_pod_gives_the_launcher_its_job() -> None:
    for file in ("pod_inline.json", "pod_zip.json"):
        containers = {c["name"]: c for c in golden(file)["spec"]["containers"]}
        line = own_log.line(containers["sandbox"]["command"], "ERROR", "lost", 0)
        assert [name for name in JOB_FIELDS if f" {name}=" not in line] == []


def test_a_launcher_without_options_logs_too() -> None:
    assert own_log.line([], "ERROR", "lost", 0) == (
        "1970-01-01T00:00:00.000Z ERROR nanogrid.launcher lost"
    )
