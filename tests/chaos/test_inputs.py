"""S3 fails in different ways while real pods copy inputs.

The whole table runs at once: one job per case, in one namespace, with one operator.
"""

import hashlib
from typing import Any

from chaos.faultcases import (
    DENIED,
    EXPIRED,
    INTERNAL,
    SLOW_DOWN,
    Case,
    S3Fault,
    inject,
    input_key,
    intervals,
    listing,
    one_input,
    s3_error,
)
from chaos.lab.faults import Answer, Call, Corrupt, Cut, Fault, Hang, Refuse, Slow
from chaos.lab.laboratory import ABSENT_BUCKET
from chaos.storagebench import StorageBench, run_table, status_problems
from nanogrid.types import Json

CONTENT = bytes(range(256)) * 256  # 64 KiB
SHORT_SYNC = {"timeouts": {"inputSyncSeconds": 8}}


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _object(name: str, *faults: S3Fault, **more: Any) -> Case:
    """A case with one input: the object ``a``."""
    spec = {**one_input(name), **more.pop("spec", {})}
    return Case(name, faults, spec, **more)


def _below(name: str, *faults: S3Fault, **more: Any) -> Case:
    """A case with one input: all objects below its prefix."""
    spec = {**one_input(name, prefix=input_key(name)), **more.pop("spec", {})}
    return Case(name, faults, spec, **more)


def _get(effect: Any, times: int | None = None) -> S3Fault:
    return S3Fault(effect, "GET", no_query=("list-type",), times=times)


def _page(effect: Any, number: int, times: int | None = None) -> S3Fault:
    """A fault of page 1 or 2 of the listing; a request for page 1 has no token."""
    token = ("continuation-token",)
    if number == 1:
        return S3Fault(effect, "GET", ("list-type",), token, times)
    return S3Fault(effect, "GET", ("list-type", *token), (), times)


ABSENT, DENY, AWAY = "InputNotFound", "InputAccessDenied", "StorageUnavailable"
LATE = "InputSyncTimeout"

SYNC = [
    _object("normal"),
    _object("head-denied", S3Fault(DENIED, "HEAD"), reason=DENY, tries=1, message="403"),
    _object("get-denied", _get(DENIED), reason=DENY, tries=1, message="AccessDenied"),
    _object("expired", _get(EXPIRED), reason=DENY, tries=1, message="ExpiredToken"),
    _object(
        "skewed",
        _get(s3_error(403, "RequestTimeTooSkewed", "The difference is too large")),
        reason="ClockSkew",
        tries=1,
        message="RequestTimeTooSkewed",
    ),
    Case(
        "no-key", spec=one_input("no-key", key="in/no-key/never"), reason=ABSENT, message="found 0"
    ),
    Case(
        "no-bucket",
        spec=one_input("no-bucket", bucket=ABSENT_BUCKET, key="in/a"),
        reason=ABSENT,
        message=ABSENT_BUCKET,
    ),
    _object("error-stays", _get(INTERNAL), reason=AWAY, tries=4, message="InternalError"),
    _object("slow-down-twice", _get(SLOW_DOWN, 2), tries=2),
    _object("slow-down-stays", _get(SLOW_DOWN), reason=AWAY, tries=4, message="SlowDown"),
    _object("hangs", _get(Hang()), spec=SHORT_SYNC, reason=LATE, message="0 of 1 files"),
    _object("crawls", _get(Slow(1024)), spec=SHORT_SYNC, reason=LATE, message="0 of 1"),
    _object("cut-stays", _get(Cut(1000)), reason=AWAY, tries=4, message="in/cut-stays/a"),
    _object("cut-once", _get(Cut(1000), 1), tries=1),
    _object("reset-stays", _get(Cut(1000, reset=True)), reason=AWAY, tries=4),
    _object("reset-once", _get(Cut(1000, reset=True), 1), tries=1),
    Case(
        "corrupt",
        [_get(Corrupt())],
        {"inputs": [{"name": "data", "s3": {"key": "in/corrupt/a", "sha256": sha256(CONTENT)}}]},
        reason="ChecksumMismatch",
        message="in/corrupt/a",
    ),
    _object("refused", S3Fault(Refuse()), reason=AWAY, tries=4, message="no answer from"),
    _object(
        "moved",
        _get(s3_error(301, "PermanentRedirect", "Use another endpoint")),
        reason="StorageMisconfigured",
        tries=1,
        message="region",
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
        "page-2-error-once",
        _page(INTERNAL, 2, 1),
        _page(listing(after=input_key("page-2-error-once", "0")), 1),
        tries=3,
    ),
    # A web page of a proxy: the client reads any XML as a listing, this one as an empty one.
    _below("list-garbage", _page(Answer(200, b"<html>Log in</html>"), 1), reason=ABSENT),
    _below(
        "vanished", _get(s3_error(404, "NoSuchKey")), reason="InputIncomplete", message="vanished"
    ),
    Case("nothing-there", spec=one_input("nothing-there", prefix="in/nowhere/"), reason=ABSENT),
]


def test_inputs(storage_bench: StorageBench) -> None:
    faults: dict[str, list[Fault]] = {}
    for case in SYNC:
        storage_bench.lab.s3_server.put(input_key(case.name, "a"), CONTENT)
        faults[case.name] = inject(storage_bench.lab.s3, case, input_key(case.name))

    run_table(
        storage_bench,
        SYNC,
        faults,
        lambda case: storage_bench.starts.marked("print(1)"),
        input_problems,
    )


def input_problems(bench: StorageBench, case: Case, status: Json, calls: list[Call]) -> list[str]:
    """The differences between a job and its case."""
    problems = status_problems(case, status, calls, bench.sync_seconds(case.name))
    if case.tries == 4 and not backed_off(calls):
        problems.append("the tries were not at least 1, 2 and 4 s apart")
    started = bench.starts.count(case.name)
    if started != int(case.succeeds):
        problems.append(f"the code was started {started} times")
    synced = {c["type"]: c["status"] for c in status["conditions"]}.get("InputsSynced")
    if synced != str(case.succeeds):
        problems.append(f"InputsSynced is {synced}")
    return problems


def backed_off(calls: list[Call]) -> bool:
    """Whether the pauses were at least 1, 2 and 4 s; unit tests check their exact lengths."""
    gaps = [round(gap, 1) for gap in intervals(calls)]
    return len(gaps) == 3 and all(
        gap >= low - 0.1 for low, gap in zip((1, 2, 4), gaps, strict=True)
    )
