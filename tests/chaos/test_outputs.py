"""S3 fails in different ways while real pods store outputs and results.

The whole table runs at once: one job per case, in one namespace, with one operator.
"""

import json
import time
from typing import Any

import pytest

from chaos.faultcases import (
    DENIED,
    EXPIRED,
    INTERNAL,
    SLOW_DOWN,
    Case,
    S3Fault,
    inject,
    one_input,
    output_prefix,
    s3_error,
)
from chaos.lab.faults import Call, Effect, Fault, Hang, LoseAnswer, Refuse
from chaos.storagebench import StorageBench, run_table, status_problems
from nanogrid import names
from nanogrid.types import Json
from support.kubectl import eventually, inline
from support.s3_server import BUCKET


def fail_result(bench: StorageBench, name: str, effect: Effect, times: int) -> Fault:
    """Make S3 refuse the result of one request ``times`` times."""
    key = names.result_object(name)
    return bench.lab.s3.fault(
        lambda call: call.method == "PUT" and call.path.endswith(key), effect, times
    )


@pytest.mark.parametrize(
    ("name", "effect"), [("r-denied", DENIED), ("r-error", INTERNAL), ("r-hangs", Hang())]
)
def test_a_result_that_s3_does_not_store_still_reaches_its_readers(
    storage_bench: StorageBench, name: str, effect: Effect
) -> None:
    fault = fail_result(storage_bench, name, effect, 100)
    began = time.monotonic()
    status = storage_bench.namespace.run(inline(name, "print('kept')", requestId=name))
    print(f"\n{name}: Finished after {time.monotonic() - began:.1f} s, {fault.hits} tries")
    fault.remove()
    assert (status["phase"], status["result"]["stdout"]) == ("Succeeded", "kept\n")
    lab = storage_bench.lab
    published = lab.redis.client().get(lab.area.result_key(name))
    assert json.loads(published)["stdout"] == "kept\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "effect", "spec"),
    [
        pytest.param("late-agent", DENIED, {}, id="that the agent could not store"),
        # Three tries of the operator's client, for a result without an agent.
        pytest.param("late-operator", INTERNAL, one_input("late-operator"), id="of the operator"),
    ],
)
def test_a_result_reaches_s3_when_s3_works_again(
    storage_bench: StorageBench, name: str, effect: Effect, spec: Json
) -> None:
    fault = fail_result(storage_bench, name, effect, 1 if effect is DENIED else 3)
    storage_bench.namespace.run(inline(name, "print('kept')", requestId=name, **spec))
    assert fault.hits, "no try to store the result"
    prefix = names.result_object(name)
    eventually("the result is in S3", lambda: storage_bench.sizes_below(prefix), 15)


SMALL = "open('output/a.txt', 'w').write('a'); print('kept')\n"
LARGE = "import os; open('output/big', 'wb').write(os.urandom(12 << 20)); print('kept')\n"
UPLOAD = "OutputUploadFailed"
SHORT_UPLOAD = {"timeouts": {"uploadSeconds": 4}}


def _small(name: str, *faults: S3Fault, **more: Any) -> Case:
    return Case(name, faults, code=more.pop("code", SMALL), **more)


def _large(name: str, *faults: S3Fault, **more: Any) -> Case:
    return Case(name, faults, code=LARGE, **more)


def _put(effect: Any, times: int | None = None) -> S3Fault:
    return S3Fault(effect, "PUT", times=times)


def _part(effect: Any, times: int | None = None) -> S3Fault:
    return S3Fault(effect, "PUT", ("partNumber=2",), times=times)


def _complete(effect: Any, times: int | None = None) -> S3Fault:
    return S3Fault(effect, "POST", ("uploadId",), times=times)


OUTPUTS = [
    _small("u-normal", stored=("a.txt",)),
    _small("u-denied", _put(DENIED), reason=UPLOAD, tries=1, message="AccessDenied"),
    _small("u-expired", _put(EXPIRED), reason=UPLOAD, tries=1, message="ExpiredToken"),
    _small("u-error-stays", _put(INTERNAL), reason=UPLOAD, tries=4, message="InternalError"),
    _small("u-slow-down-twice", _put(SLOW_DOWN, 2), tries=2, stored=("a.txt",)),
    _small("u-hangs", _put(Hang()), spec=SHORT_UPLOAD, reason=UPLOAD, message="no time"),
    _small("u-answer-lost", _put(LoseAnswer(), 1), tries=1, stored=("a.txt",)),
    _small(
        "u-one-of-two",
        S3Fault(DENIED, "PUT", key="b.txt"),
        code=SMALL + "open('output/b.txt', 'w').write('b')\n",
        reason=UPLOAD,
        message="b.txt",
        stored=("a.txt",),
    ),
    _small(
        "u-exit-3", code=SMALL + "raise SystemExit(3)", reason="NonZeroExit",
        stored=(".partial/a.txt",),
    ),
    _small(
        "u-exit-3-denied", _put(DENIED), code=SMALL + "raise SystemExit(3)",
        reason="NonZeroExit", message="Outputs not stored", tries=1,
    ),
    _large("u-part-reset-once", _part(Refuse(), 1), tries=1, stored=("big",)),
    _large("u-part-fails", _part(INTERNAL), reason=UPLOAD, tries=8, message="InternalError"),
    _large("u-part-hangs", _part(Hang()), spec=SHORT_UPLOAD, reason=UPLOAD, message="no time"),
    _large("u-complete-lost", _complete(LoseAnswer(), 1), tries=1, stored=("big",)),
    _large(
        "u-complete-in-doubt",
        _complete(s3_error(200, "InternalError", "Please try again"), 1),
        tries=1,
        stored=("big",),
    ),
    _large("u-complete-fails", _complete(INTERNAL), reason=UPLOAD, tries=8),
    _large("u-abort-fails-once", _part(DENIED), S3Fault(INTERNAL, "DELETE", times=1),
           reason=UPLOAD, tries=2),
]  # fmt: skip


@pytest.mark.slow
def test_outputs(storage_bench: StorageBench) -> None:
    lab = storage_bench.lab
    faults = {c.name: inject(lab.s3, c, output_prefix(c.name)) for c in OUTPUTS}

    run_table(storage_bench, OUTPUTS, faults, lambda case: case.code, output_problems)
    began = time.monotonic()
    eventually("no parts are left in S3", lambda: not open_uploads(storage_bench), 60)
    print(f"no parts left {time.monotonic() - began:.0f} s after the jobs")


def open_uploads(bench: StorageBench) -> list[str]:
    """The keys of uploads that are neither completed nor aborted."""
    found = bench.lab.s3_server.client.list_multipart_uploads(Bucket=BUCKET)
    return [upload["Key"] for upload in found.get("Uploads", [])]


def output_problems(bench: StorageBench, case: Case, status: Json, calls: list[Call]) -> list[str]:
    """The differences between a job and its case."""
    result = status["result"]
    took = result["timings"].get("uploadMillis", 0) / 1000
    problems = status_problems(case, status, calls, took)
    wanted = 3 if "exit-3" in case.name else 0
    if (result["exitCode"], result["stdout"]) != (wanted, "kept\n"):
        problems.append(f"exit code {result['exitCode']}, stdout {result['stdout']!r}")
    prefix = output_prefix(case.name)
    listed = [url.removeprefix(f"s3://{BUCKET}/{prefix}") for url in result["outputFiles"]]
    if listed != list(case.stored):
        problems.append(f"the result lists {listed}")
    stored = bench.sizes_below(prefix)
    sizes = {output["url"].rpartition(prefix)[2]: output["bytes"] for output in result["outputs"]}
    if not sizes.items() <= stored.items():
        problems.append(f"the result lists {sizes}, S3 has {stored}")
    return problems
