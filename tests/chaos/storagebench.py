"""A laboratory for tables of S3 faults: one job per case, in one namespace with one operator."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import pytest

from chaos.faultcases import Case, intervals
from chaos.lab.faults import Call, Fault
from chaos.lab.laboratory import Laboratory
from chaos.labfixtures import lab_in_namespace
from chaos.starts import Starts
from nanogrid.types import Json
from support.kubectl import Namespace, inline, kubectl_json
from support.s3_server import BUCKET


@dataclass
class StorageBench:
    """A laboratory with a namespace, an operator and a counter of starts."""

    lab: Laboratory
    namespace: Namespace
    starts: Starts

    def run(self, cases: list[Case], code: Callable[[Case], str]) -> dict[str, Json]:
        """Run a job for each case at the same time; returns their statuses by name."""
        jobs = [inline(case.name, code(case), requestId=case.name, **case.spec) for case in cases]
        self.namespace.apply(*jobs)
        wanted = [f"ej/{case.name}" for case in cases]
        self.namespace.kubectl("wait", *wanted, "--for=condition=Finished", "--timeout=240s")
        found = kubectl_json("-n", self.namespace.name, "get", "ej")["items"]
        return {job["metadata"]["name"]: job["status"] for job in found}

    def sync_seconds(self, name: str) -> float:
        """How long the init container ran, in whole seconds."""
        pod = self.namespace.only_pod(name)
        (sync,) = (s["state"]["terminated"] for s in pod["status"]["initContainerStatuses"])
        begin, end = (datetime.fromisoformat(sync[at]) for at in ("startedAt", "finishedAt"))
        return (end - begin).total_seconds()

    def sizes_below(self, prefix: str) -> dict[str, int]:
        """The sizes of the objects below a prefix, by key without the prefix."""
        found = self.lab.s3_server.client.list_objects_v2(Bucket=BUCKET, Prefix=prefix)
        return {o["Key"].removeprefix(prefix): o["Size"] for o in found.get("Contents", [])}


@pytest.fixture(scope="module")
def storage_bench(
    lab_cluster: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StorageBench]:
    """A laboratory with one operator for all cases of a module."""
    with (
        lab_in_namespace("lab-s3", tmp_path_factory.mktemp("s3")) as lab,
        Starts(lab.address) as starts,
    ):
        lab.operator().start().wait_ready()
        yield StorageBench(lab, Namespace(lab.namespace), starts)


def calls_of(faults: Sequence[Fault]) -> list[Call]:
    """The calls that the faults were applied to, in order."""
    return sorted((call for fault in faults for call in fault.calls), key=lambda call: call.at)


def status_problems(case: Case, status: Json, calls: list[Call], took: float) -> list[str]:
    """The differences between a job and its case, one line each; prints the job's figures.

    Args:
        case: the expected end.
        status: the job's status.
        calls: the calls with a fault.
        took: the seconds of the phase that the case is about.
    """
    gaps = [round(gap, 1) for gap in intervals(calls)]
    print(f"{case.name:20} {status['reason']:18} {took:5.1f} s  {len(calls)} calls  gaps {gaps}")
    problems = []
    if status["reason"] != case.reason:
        problems.append(f"{status['reason']}: {status['message']}")
    if case.message not in status["message"]:
        problems.append(f"its message is {status['message']!r}")
    if case.tries is not None and len(calls) != case.tries:
        problems.append(f"{len(calls)} calls had the fault: {gaps}")
    if took > case.seconds:
        problems.append(f"it took {took:.1f} s")
    return problems


def run_table(
    bench: StorageBench,
    cases: list[Case],
    faults: Mapping[str, list[Fault]],
    code: Callable[[Case], str],
    problems: Callable[[StorageBench, Case, Json, list[Call]], list[str]],
) -> None:
    """Run a job for each case at the same time; fails with the problems of all of them.

    Args:
        bench: the laboratory.
        cases: the table.
        faults: the injected faults by the case's name.
        code: the code of a case's job.
        problems: the differences between a job's status and its case; see status_problems.
    """
    began = time.monotonic()
    ended = bench.run(cases, code)
    print(f"\n{len(cases)} jobs in {time.monotonic() - began:.0f} s")
    wrong = [
        f"{case.name}: {problem}"
        for case in cases
        for problem in problems(bench, case, ended[case.name], calls_of(faults[case.name]))
    ]
    assert not wrong, "\n".join(wrong)
