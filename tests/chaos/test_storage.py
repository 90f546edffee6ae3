"""S3 fails in each of its ways while real pods copy inputs and store outputs.

Every table runs at once: one job for each case, in one namespace, with one operator.
"""

import hashlib
import json
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest

from chaos.faultcases import (
    DENIED,
    EXPIRED,
    INTERNAL,
    SLOW_DOWN,
    Case,
    Trouble,
    inject,
    input_key,
    listing,
    one_input,
    output_prefix,
    retried,
    s3_error,
)
from chaos.lab.faultproxy import Answer, Corrupt, Cut, Effect, Fault, Hang, LoseAnswer, Refuse, Slow
from chaos.lab.laboratory import Laboratory, laboratory
from chaos.proof import Starts
from e2e.support import Namespace, eventually, inline, kubectl, kubectl_json
from integration.support import BUCKET
from nanogrid import names

Json = dict[str, Any]
CONTENT = bytes(range(256)) * 256  # 64 KiB
SHORT_SYNC = {"timeouts": {"inputSyncSeconds": 4}}


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _object(name: str, *troubles: Trouble, **more: Any) -> Case:
    """A case whose one input is the object ``a``."""
    spec = {**one_input(name), **more.pop("spec", {})}
    return Case(name, troubles, spec, **more)


def _below(name: str, *troubles: Trouble, **more: Any) -> Case:
    """A case whose input is everything below its prefix."""
    spec = {**one_input(name, prefix=input_key(name)), **more.pop("spec", {})}
    return Case(name, troubles, spec, **more)


def _get(effect: Any, times: int | None = None) -> Trouble:
    return Trouble(effect, "GET", lacking=("list-type",), times=times)


def _page(effect: Any, number: int, times: int | None = None) -> Trouble:
    """A page of the listing: the first has no token."""
    words = ("list-type", "continuation-token") if number == 2 else ("list-type",)
    return Trouble(effect, "GET", words, () if number == 2 else ("continuation-token",), times)


ABSENT, DENY, AWAY = "InputNotFound", "InputAccessDenied", "StorageUnavailable"
LATE = "InputSyncTimeout"

SYNC = [
    _object("well"),
    _object("head-denied", Trouble(DENIED, "HEAD"), reason=DENY, tries=1, says="403"),
    _object("get-denied", _get(DENIED), reason=DENY, tries=1, says="AccessDenied"),
    _object("expired", _get(EXPIRED), reason=DENY, tries=1, says="ExpiredToken"),
    _object(
        "skewed",
        _get(s3_error(403, "RequestTimeTooSkewed", "The difference is too large")),
        reason="ClockSkew",
        tries=1,
        says="RequestTimeTooSkewed",
    ),
    Case("no-key", spec=one_input("no-key", key="in/no-key/never"), reason=ABSENT, says="found 0"),
    Case(
        "no-bucket",
        spec=one_input("no-bucket", bucket="no-such-bucket", key="in/a"),
        reason=ABSENT,
        says="no-such-bucket",
    ),
    _object("error-stays", _get(INTERNAL), reason=AWAY, tries=4, says="InternalError"),
    _object("slow-down-twice", _get(SLOW_DOWN, 2), tries=2),
    _object("slow-down-stays", _get(SLOW_DOWN), reason=AWAY, tries=4, says="SlowDown"),
    _object("hangs", _get(Hang()), spec=SHORT_SYNC, reason=LATE, says="0 of 1 files", seconds=12),
    _object("crawls", _get(Slow(1024)), spec=SHORT_SYNC, reason=LATE, says="0 of 1", seconds=12),
    _object("cut-stays", _get(Cut(1000)), reason=AWAY, tries=4, says="in/cut-stays/a"),
    _object("cut-once", _get(Cut(1000), 1), tries=1),
    _object("reset-stays", _get(Cut(1000, reset=True)), reason=AWAY, tries=4),
    _object("reset-once", _get(Cut(1000, reset=True), 1), tries=1),
    Case(
        "corrupt",
        [_get(Corrupt())],
        {"inputs": [{"name": "data", "s3": {"key": "in/corrupt/a", "sha256": sha256(CONTENT)}}]},
        reason="ChecksumMismatch",
        says="in/corrupt/a",
    ),
    _object("refused", Trouble(Refuse()), reason=AWAY, tries=4, says="no answer from"),
    _object(
        "moved",
        _get(s3_error(301, "PermanentRedirect", "Use another endpoint")),
        reason=AWAY,
        tries=1,
        says="region",
    ),
    _below("list-denied", _page(DENIED, 1), reason=DENY, tries=1),
    _below("list-fails", _page(INTERNAL, 1), reason=AWAY, tries=4),
    _below(
        "page-2-fails",
        _page(INTERNAL, 2),
        _page(listing("in/page-2-fails/a", after="t1"), 1),
        reason=AWAY,
        tries=8,
    ),
    _below(
        "page-2-unwell",
        _page(INTERNAL, 2, 1),
        _page(listing(after=input_key("page-2-unwell", "0")), 1),
        tries=3,
    ),
    # A gateway's own page: the client takes any XML for a listing, here for an empty one.
    _below("list-garbage", _page(Answer(200, b"<html>Log in</html>"), 1), reason=ABSENT),
    _below("vanished", _get(s3_error(404, "NoSuchKey")), reason="InputIncomplete", says="vanished"),
    Case("nothing-there", spec=one_input("nothing-there", prefix="in/nowhere/"), reason=ABSENT),
]


@dataclass
class Bench:
    """A laboratory with a namespace, an operator and a counter of starts."""

    lab: Laboratory
    namespace: Namespace
    starts: Starts

    def run(self, cases: list[Case], code: Callable[[Case], str]) -> dict[str, Json]:
        """Run a job for each case at the same time; their statuses by name."""
        jobs = [inline(case.name, code(case), requestId=case.name, **case.spec) for case in cases]
        self.namespace.apply(*jobs)
        wanted = [f"ej/{case.name}" for case in cases]
        self.namespace.kubectl("wait", *wanted, "--for=condition=Finished", "--timeout=110s")
        found = kubectl_json("-n", self.namespace.name, "get", "ej")["items"]
        return {job["metadata"]["name"]: job["status"] for job in found}

    def sync_seconds(self, name: str) -> float:
        """How long the init container ran, in whole seconds."""
        (pod,) = self.namespace.pods(name)
        (sync,) = (s["state"]["terminated"] for s in pod["status"]["initContainerStatuses"])
        begin, end = (datetime.fromisoformat(sync[at]) for at in ("startedAt", "finishedAt"))
        return (end - begin).total_seconds()


@pytest.fixture(scope="module")
def bench(lab_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    name = f"lab-s3-{uuid.uuid4().hex[:6]}"
    kubectl("create", "namespace", name)
    try:
        with laboratory(name, tmp_path_factory.mktemp("s3")) as lab, Starts(lab.address) as starts:
            lab.operator().start().wait_ready()
            yield Bench(lab, Namespace(name), starts)
    finally:
        kubectl("delete", "namespace", name, "--wait=false")


def test_inputs(bench: Bench) -> None:
    faults: dict[str, list[Fault]] = {}
    for case in SYNC:
        bench.lab.s3_server.put(input_key(case.name, "a"), CONTENT)
        faults[case.name] = inject(bench.lab.s3, case, input_key(case.name))

    began = time.monotonic()
    ended = bench.run(SYNC, lambda case: bench.starts.marked("print(1)"))
    print(f"\n{len(SYNC)} jobs in {time.monotonic() - began:.0f} s")

    wrong = [
        f"{case.name}: {problem}"
        for case in SYNC
        for problem in _input_problems(bench, case, ended[case.name], faults[case.name])
    ]
    assert not wrong, "\n".join(wrong)


def _input_problems(bench: Bench, case: Case, status: Json, faults: list[Fault]) -> list[str]:
    """What differs from what the table promises; prints the case's line of figures."""
    calls = sorted((c for fault in faults for c in fault.calls), key=lambda c: c.at)
    took = bench.sync_seconds(case.name)
    gaps = [round(gap, 1) for gap in retried(calls)]
    print(f"{case.name:18} {status['reason']:18} {took:3.0f} s  {len(calls)} met  gaps {gaps}")
    problems = []
    if status["reason"] != case.reason:
        problems.append(f"{status['reason']}: {status['message']}")
    if case.says not in status["message"]:
        problems.append(f"its message is {status['message']!r}")
    if case.tries is not None and len(calls) != case.tries:
        problems.append(f"{len(calls)} calls met the fault: {gaps}")
    if took > case.seconds:
        problems.append(f"it took {took:.0f} s")
    if case.tries == 4 and not _backed_off(gaps):
        problems.append(f"the tries were {gaps} s apart")
    started = bench.starts.of(case.name)
    if started != int(case.succeeds):
        problems.append(f"the code was started {started} times")
    synced = {c["type"]: c["status"] for c in status["conditions"]}.get("InputsSynced")
    if synced != str(case.succeeds):
        problems.append(f"InputsSynced is {synced}")
    return problems


def _backed_off(gaps: list[float]) -> bool:
    """1, 2 and 4 s, with up to a quarter of jitter, and a second on a busy machine."""
    return len(gaps) == 3 and all(
        low - 0.1 <= gap <= 1.25 * low + 1 for low, gap in zip((1, 2, 4), gaps, strict=True)
    )


def _stored(bench: Bench, name: str) -> Json:
    """The result in S3; nothing if there is none."""
    key = names.result_object(name)
    found = bench.lab.s3_server.client.list_objects_v2(Bucket=BUCKET, Prefix=key)
    result: Json = json.loads(bench.lab.s3_server.get(key)) if found.get("KeyCount") else {}
    return result


def _unstorable(bench: Bench, name: str, effect: Effect, times: int) -> Fault:
    """A fault that keeps the result of one request out of S3 for so many tries."""
    key = names.result_object(name)
    return bench.lab.s3.fault(
        lambda call: call.method == "PUT" and call.path.endswith(key), effect, times
    )


@pytest.mark.parametrize(
    ("name", "effect"), [("r-denied", DENIED), ("r-unwell", INTERNAL), ("r-hangs", Hang())]
)
def test_a_result_that_s3_does_not_take_still_reaches_its_readers(
    bench: Bench, name: str, effect: Effect
) -> None:
    fault = _unstorable(bench, name, effect, 100)
    began = time.monotonic()
    status = bench.namespace.run(inline(name, "print('kept')", requestId=name))
    print(f"\n{name}: Finished after {time.monotonic() - began:.1f} s, {fault.hits} tries")
    fault.remove()
    assert (status["phase"], status["result"]["stdout"]) == ("Succeeded", "kept\n")
    kept = bench.lab.redis.client().get(names.result_key(name))
    assert json.loads(kept)["stdout"] == "kept\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "effect", "spec"),
    [
        pytest.param("late-agent", DENIED, {}, id="that the agent could not store"),
        # Three tries of the operator's client, for a result that no agent made.
        pytest.param("late-operator", INTERNAL, one_input("late-operator"), id="of the operator"),
    ],
)
def test_a_result_comes_to_s3_when_s3_is_well_again(
    bench: Bench, name: str, effect: Effect, spec: Json
) -> None:
    fault = _unstorable(bench, name, effect, 1 if effect is DENIED else 3)
    bench.namespace.run(inline(name, "print('kept')", requestId=name, **spec))
    if not fault.hits:
        pytest.fail("nobody tried to store the result")
    eventually("the result is in S3", lambda: _stored(bench, name), 15)


SMALL = "open('output/a.txt', 'w').write('a'); print('kept')\n"
LARGE = "import os; open('output/big', 'wb').write(os.urandom(12 << 20)); print('kept')\n"
UPLOAD = "OutputUploadFailed"
SHORT_UPLOAD = {"timeouts": {"uploadSeconds": 4}}


def _small(name: str, *troubles: Trouble, **more: Any) -> Case:
    return Case(name, troubles, code=more.pop("code", SMALL), **more)


def _large(name: str, *troubles: Trouble, **more: Any) -> Case:
    return Case(name, troubles, code=LARGE, **more)


def _put(effect: Any, times: int | None = None) -> Trouble:
    return Trouble(effect, "PUT", times=times)


def _part(effect: Any, times: int | None = None) -> Trouble:
    return Trouble(effect, "PUT", ("partNumber=2",), times=times)


def _complete(effect: Any, times: int | None = None) -> Trouble:
    return Trouble(effect, "POST", ("uploadId",), times=times)


OUTPUTS = [
    _small("u-well", stored=("a.txt",)),
    _small("u-denied", _put(DENIED), reason=UPLOAD, tries=1, says="AccessDenied"),
    _small("u-expired", _put(EXPIRED), reason=UPLOAD, tries=1, says="ExpiredToken"),
    _small("u-error-stays", _put(INTERNAL), reason=UPLOAD, tries=4, says="InternalError"),
    _small("u-slow-down-twice", _put(SLOW_DOWN, 2), tries=2, stored=("a.txt",)),
    _small("u-hangs", _put(Hang()), spec=SHORT_UPLOAD, reason=UPLOAD, says="no time"),
    _small("u-answer-lost", _put(LoseAnswer(), 1), tries=1, stored=("a.txt",)),
    _small(
        "u-one-of-two",
        Trouble(DENIED, "PUT", key="b.txt"),
        code=SMALL + "open('output/b.txt', 'w').write('b')\n",
        reason=UPLOAD,
        says="b.txt",
        stored=("a.txt",),
    ),
    _small(
        "u-exit-3", code=SMALL + "raise SystemExit(3)", reason="NonZeroExit",
        stored=(".partial/a.txt",),
    ),
    _small(
        "u-exit-3-denied", _put(DENIED), code=SMALL + "raise SystemExit(3)",
        reason="NonZeroExit", says="Outputs not stored", tries=1,
    ),
    _large("u-part-reset-once", _part(Refuse(), 1), tries=1, stored=("big",)),
    _large("u-part-fails", _part(INTERNAL), reason=UPLOAD, tries=8, says="InternalError"),
    _large("u-part-hangs", _part(Hang()), spec=SHORT_UPLOAD, reason=UPLOAD, says="no time"),
    _large("u-complete-lost", _complete(LoseAnswer(), 1), tries=1, stored=("big",)),
    _large(
        "u-complete-in-doubt",
        _complete(s3_error(200, "InternalError", "Please try again"), 1),
        tries=1,
        stored=("big",),
    ),
    _large("u-complete-fails", _complete(INTERNAL), reason=UPLOAD, tries=8),
    _large("u-abort-fails-once", _part(DENIED), Trouble(INTERNAL, "DELETE", times=1),
           reason=UPLOAD, tries=2),
]  # fmt: skip


@pytest.mark.slow
def test_outputs(bench: Bench) -> None:
    faults = {c.name: inject(bench.lab.s3, c, output_prefix(c.name)) for c in OUTPUTS}

    began = time.monotonic()
    ended = bench.run(OUTPUTS, lambda case: case.code)
    print(f"\n{len(OUTPUTS)} jobs in {time.monotonic() - began:.0f} s")

    wrong = [
        f"{case.name}: {problem}"
        for case in OUTPUTS
        for problem in _output_problems(bench, case, ended[case.name], faults[case.name])
    ]
    assert not wrong, "\n".join(wrong)
    eventually("no parts are left in S3", lambda: not _uploads(bench), 60)
    print(f"no parts left after {time.monotonic() - began:.0f} s")


def _uploads(bench: Bench) -> list[str]:
    """Keys of uploads that are neither completed nor aborted."""
    found = bench.lab.s3_server.client.list_multipart_uploads(Bucket=BUCKET)
    return [upload["Key"] for upload in found.get("Uploads", [])]


def _output_problems(bench: Bench, case: Case, status: Json, faults: list[Fault]) -> list[str]:
    """What differs from what the table promises; prints the case's line of figures."""
    calls = sorted((c for fault in faults for c in fault.calls), key=lambda c: c.at)
    gaps = [round(gap, 1) for gap in retried(calls)]
    result = status["result"]
    took = result["timings"].get("uploadMillis", 0) / 1000
    print(f"{case.name:20} {status['reason']:18} {took:5.1f} s  {len(calls)} met  gaps {gaps}")
    problems = []
    if status["reason"] != case.reason:
        problems.append(f"{status['reason']}: {status['message']}")
    if case.says not in status["message"]:
        problems.append(f"its message is {status['message']!r}")
    if case.tries is not None and len(calls) != case.tries:
        problems.append(f"{len(calls)} calls met the fault: {gaps}")
    if took > case.seconds:
        problems.append(f"it took {took:.1f} s")
    wanted = 3 if "exit-3" in case.name else 0
    if (result["exitCode"], result["stdout"]) != (wanted, "kept\n"):
        problems.append(f"exit code {result['exitCode']}, stdout {result['stdout']!r}")
    prefix = output_prefix(case.name)
    listed = [url.removeprefix(f"s3://{BUCKET}/{prefix}") for url in result["outputFiles"]]
    if listed != list(case.stored):
        problems.append(f"the result lists {listed}")
    found = bench.lab.s3_server.client.list_objects_v2(Bucket=BUCKET, Prefix=prefix)
    kept = {entry["Key"].removeprefix(prefix): entry["Size"] for entry in found.get("Contents", [])}
    sizes = {output["url"].rpartition(prefix)[2]: output["bytes"] for output in result["outputs"]}
    if not sizes.items() <= kept.items():
        problems.append(f"the result tells of {sizes}, S3 has {kept}")
    return problems
