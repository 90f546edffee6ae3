"""Outputs and streams: what is stored, what is refused, and what a long or binary output keeps."""

import json

import pytest

from nanogrid import names
from nanogrid.types import Json
from scripts.devaccess import DevAccess
from support.dev_objects import object_sizes
from support.kubectl import Namespace, condition, eventually, in_redis, inline

FILES = """
import os, sys
os.makedirs('output/deep/er')
for name in ('a.csv', 'b.tmp', 'deep/c.csv', 'deep/er/d.csv', 'deep/er/e.tmp'):
    open(f'output/{name}', 'w').write(name)
sys.exit(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
"""


def events_of(namespace: Namespace) -> list[str]:
    """The reasons of the Events on the namespace's objects."""
    return namespace.kubectl("get", "events", "-o", "jsonpath={.items[*].reason}").split()


@pytest.mark.parametrize(
    ("outputs", "arguments", "stored"),
    [
        ({"include": ["**/*.csv"]}, [], ["a.csv", "deep/c.csv", "deep/er/d.csv"]),
        ({"include": ["*.csv"]}, [], ["a.csv"]),
        ({"include": ["{a.csv,deep/*.{csv,tmp}}"]}, [], ["a.csv", "deep/c.csv"]),
        ({"exclude": ["**/*.tmp", "deep/er/**"]}, [], ["a.csv", "deep/c.csv"]),
        ({"uploadPolicy": "Never"}, [], []),
        ({"uploadPolicy": "OnSuccess", "include": ["a.csv"]}, ["3"], []),
        ({"include": ["a.csv"]}, ["3"], [".partial/a.csv"]),
    ],
    ids=["deep glob", "flat glob", "braces", "exclude", "never", "on success", "partial"],
)
def test_rules_select_the_stored_outputs(
    namespace: Namespace,
    dev: DevAccess,
    request_id: str,
    outputs: Json,
    arguments: list[str],
    stored: list[str],
) -> None:
    status = namespace.run(
        inline("chosen", FILES, requestId=request_id, outputs=outputs, args=arguments)
    )

    assert status["result"]["exitCode"] == (int(arguments[0]) if arguments else 0)
    folder = namespace.key(names.outputs_prefix(request_id))
    assert sorted(object_sizes(dev, folder)) == sorted(stored)
    prefix = f"s3://{dev.bucket}/{folder}"
    assert sorted(status["result"]["outputFiles"]) == sorted(prefix + name for name in stored)


@pytest.mark.parametrize("pattern", ["output/**/*.csv", "**/*.CSV"], ids=["folder", "case"])
def test_patterns_that_match_nothing_are_reported(namespace: Namespace, pattern: str) -> None:
    status = namespace.run(inline("missed", FILES, outputs={"include": [pattern]}))

    assert (status["phase"], status["result"]["outputFiles"]) == ("Succeeded", [])
    found = condition(status, "OutputsUploaded")
    assert (found["status"], found["reason"]) == ("False", "OutputsNotMatched")
    assert found["message"].startswith("5 files match no include pattern: a.csv, b.tmp, ")
    assert repr(pattern) in found["message"]
    eventually("an Event", lambda: "OutputsNotMatched" in events_of(namespace))


@pytest.mark.parametrize(
    ("limit", "message"), [({"maxFiles": 3}, "maxFiles"), ({"maxFileBytes": 5}, "maxFileBytes")]
)
def test_exceeded_output_limit_is_named(namespace: Namespace, limit: Json, message: str) -> None:
    status = namespace.run(inline("capped", FILES, outputs=limit))

    assert (status["phase"], status["reason"]) == ("Failed", "OutputUploadFailed")
    assert status["result"]["exitCode"] == 0
    assert message in status["message"]


# The server's own policy may learn of the new pod a moment later than the pod's policies hold.
FETCH = """
import sys, time, urllib.error, urllib.request
end = time.monotonic() + 20
while True:
    try:
        print(urllib.request.urlopen(sys.argv[1], timeout=60).read().decode())
        break
    except urllib.error.URLError as error:
        if isinstance(error, urllib.error.HTTPError) or time.monotonic() > end:
            raise
        time.sleep(0.1)
"""


def test_presigned_urls_work_without_keys(namespace: Namespace, request_id: str) -> None:
    status = namespace.run(
        inline(
            "signed",
            "open('output/a.txt', 'w').write('서명')",
            requestId=request_id,
            outputs={"urlFormat": "Presigned", "presignedExpirySeconds": 120},
        )
    )
    (url,) = status["result"]["outputFiles"]
    assert url.startswith("http")
    assert "X-Amz-Expires=120" in url

    # The server's name resolves only in the cluster, so another job, without keys, downloads it.
    fetched = namespace.run(inline("fetcher", FETCH, args=[url]))
    assert fetched["result"]["stdout"] == "서명\n"


UNSAFE = {
    "links": r"""
import os
os.symlink('/etc/passwd', 'output/link.txt')
os.symlink('/run/nanogrid', 'output/folder')
open('output/twin.txt', 'w').write('x'); os.link('output/twin.txt', 'output/hard.txt')
""",
    "devices": r"""
import os, socket
os.mkfifo('output/pipe')
s = socket.socket(socket.AF_UNIX); s.bind('output/sock')
""",
    "sizes": r"""
f = open('output/sparse.bin', 'wb'); f.truncate(3 << 29); f.close()
open('output/new\nline.txt', 'w').write('x')
""",
}
REPORTED = {
    "links": ["link.txt", "folder", "twin.txt", "hard.txt"],
    "devices": ["pipe", "sock"],
    "sizes": ["sparse.bin", "line.txt"],
}


@pytest.mark.parametrize("kind", list(UNSAFE))
def test_unsafe_outputs_are_never_stored_and_always_reported(
    namespace: Namespace, dev: DevAccess, request_id: str, kind: str
) -> None:
    code = (
        UNSAFE[kind] + "import os; os.mkdir('output/real'); open('output/real/kept', 'w').close()"
    )
    status = namespace.run(inline("tricks", code, requestId=request_id))

    prefix = namespace.key(names.outputs_prefix(request_id))
    assert object_sizes(dev, prefix) == {"real/kept": 0}
    for name in REPORTED[kind]:
        assert name in status["message"], f"{name} is not reported in {status['message']}"


def test_long_output_keeps_start_end_size_and_full_text_up_to_its_limit(
    namespace: Namespace, dev: DevAccess, request_id: str
) -> None:
    lines = 3_000_000
    code = f"print('first')\nfor i in range({lines}): print(f'{{i:09}}')\nprint('last')"
    status = namespace.run(
        inline(
            "flood",
            code,
            requestId=request_id,
            logs={"maxBytes": 1 << 20},
            env=[{"name": "PYTHONUNBUFFERED", "value": ""}],
        ),
    )
    result = status["result"]

    assert status["phase"] == "Succeeded", status["message"]
    assert result["stdoutBytes"] == len("first\nlast\n") + 10 * lines
    assert result["stdoutTruncated"] is True
    assert result["stdout"].endswith("last\n")
    text = json.loads(in_redis(dev, request_id))["stdout"]
    assert text.startswith("first\n")
    assert text.endswith("last\n")
    assert len(text.encode()) <= 64 * 1024
    folder = namespace.key(f"results/{request_id}/")
    assert object_sizes(dev, folder)["stdout.txt"] == 1 << 20
    assert result["stdoutUrl"] == f"s3://{dev.bucket}/{folder}stdout.txt"
    assert len(json.dumps(namespace.get("flood")["status"]).encode()) <= 64 * 1024


def test_binary_output_keeps_its_text_and_size(namespace: Namespace) -> None:
    code = "import os; os.write(1, b'a\\xff\\x00\\xed\\x95\\x9c\\n')"
    status = namespace.run(inline("binary", code))

    assert status["result"]["stdout"] == "a\ufffd\x00한\n"
    assert status["result"]["stdoutBytes"] == 7


def test_output_without_newline_is_not_lost_at_a_kill(namespace: Namespace) -> None:
    code = "import time; print('no newline', end=''); time.sleep(60)"
    status = namespace.run(inline("held", code, timeouts={"executionSeconds": 3}))

    assert status["result"]["status"] == "TIMEOUT"
    assert status["result"]["stdout"] == "no newline"
