"""Measures jobs against what Kubernetes does itself, and writes docs/performance.md.

Needs the cluster with the chart (`make demo`). Creates a namespace bench-… and deletes it. A run
that leaves out parts, or in which one fails, writes to build/bench: docs/ has complete runs only.
"""

import argparse
import importlib
import importlib.util
import json
import signal
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from kubernetes import config
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from bench import sync
from bench.performance import bursts, latency, machine, observer, pools
from bench.performance.budget import Budget, say
from bench.performance.observer import Api, Observer
from bench.performance.operator import operator_usage
from bench.performance.runs import RunError, Runs, put_inputs
from bench.steps import executor_image
from nanogrid import names
from scripts.devaccess import NAMESPACE, RELEASE, AccessError, dev_access
from support.benchmark import data, report
from support.benchmark import subjects as s
from support.benchmark.manifests import s3_policy
from support.kubectl import KubectlError, Namespace, created, kubectl
from support.sessions import Caller, path_of, ready, router, session, token_of

COMPLETE: Final = "docs"
PARTIAL: Final = "build/bench"
NAME: Final = "performance"
HOOK: Final = "bench.controlplane"  # a module with measure(budget, quick) → the controlPlane part
NO_POOLS: Final = "the cluster has no ExecutionPools"
Document = dict[str, Any]


class Sizes:
    """How much one run measures, and for how long, in seconds."""

    def __init__(self, options: argparse.Namespace) -> None:
        quick = options.quick
        self.quick = quick
        self.seconds = 60 * (options.minutes or (2.8 if quick else 11.5))
        self.rounds = options.rounds or (3 if quick else 12)
        self.latency = 75.0 if quick else 210.0
        self.burst = options.burst or (15 if quick else 60)
        self.burst_rounds = options.burst_rounds
        self.small, self.large_mib = (500, 128) if quick else (5000, 1024)
        self.sync_rounds = 2 if quick else 3
        self.sync = 15.0 if quick else 75.0


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(prog="bench.performance", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small numbers: at most 3 minutes")
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME",
        help="a subject or a part, repeatedly; see --list",
    )  # fmt: skip
    parser.add_argument("--list", action="store_true", help="list subjects and parts")
    parser.add_argument("--rounds", type=int, help="most rounds of the latency table")
    parser.add_argument("--burst", type=int, help="jobs of a burst without a pool")
    parser.add_argument("--burst-rounds", type=int, default=1, help="most rounds of the bursts")
    parser.add_argument("--minutes", type=float, help="no part begins later")
    parser.add_argument("--output", type=Path, help="folder of page, JSON and images/")
    parser.add_argument(
        "--into", type=Path, metavar="JSON",
        help="put what --only selects into the numbers of an earlier run, which did not have it",
    )  # fmt: skip
    parser.add_argument(
        "--render", type=Path, metavar="JSON", help="write the page of these numbers; no cluster"
    )
    return parser.parse_args(arguments)


def write(document: Document, folder: Path) -> None:
    """Write the page, its charts and the JSON below a folder."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for name, text in report.images(document).items():
        (folder / "images" / name).write_text(text, encoding="utf-8")
    (folder / f"{NAME}.json").write_text(compact(document), encoding="utf-8")
    (folder / f"{NAME}.md").write_text(report.page(document), encoding="utf-8")
    say(f"wrote {folder / NAME}.md, {NAME}.json and images")


def compact(document: Document) -> str:
    """JSON with one line per entry of a list of objects, so that a change is readable."""
    text = json.dumps(document, indent=1, ensure_ascii=False)
    return _joined(text) + "\n"


def _joined(text: str) -> str:
    """Join the lines of everything that is three levels deep and more."""
    lines: list[str] = []
    for line in text.split("\n"):
        depth = len(line) - len(line.lstrip(" "))
        if depth > 3 or (depth == 3 and line.lstrip()[0] in "]}" and lines):
            lines[-1] += line.strip() + (" " if line.endswith(",") else "")
        else:
            lines.append(line)
    return "\n".join(line.rstrip() for line in lines)


@contextmanager
def a_session(namespace: Namespace) -> Iterator[tuple[Caller, str]]:
    """A ready session, through the router."""
    namespace.apply(session("bench"))
    token = token_of(namespace, ready(namespace, "bench"))
    with router() as url:
        caller, path = Caller(url, token), path_of(namespace, "bench")
        caller.execute(path, "pass")
        yield caller, path


def not_possible(api: Api, selection: s.Selection) -> dict[str, str]:
    """Subjects that this cluster's chart does not offer, with the reason."""
    found: dict[str, str] = {}
    if pools.crd(api, names.POOL_PLURAL) is None:
        found = {one.key: NO_POOLS for one in (s.WARM, s.WARM_S3)} | {s.POOL_PART: NO_POOLS}
    if not pools.has_field(api, "inputStrategy"):
        found[s.S3_AGENT.key] = "the cluster's ExecutionJobs have no spec.inputStrategy"
    wanted = {*(one.key for one in selection.latency), *selection.parts}
    return {key: why for key, why in found.items() if key in wanted}


def measure_jobs(
    document: Document, selection: s.Selection, sizes: Sizes, budget: Budget, api: Api
) -> None:
    """The parts that run jobs in the cluster; adds what is measured to the document."""
    skipped: dict[str, str] = document["skipped"]
    skipped |= not_possible(api, selection)
    for key, why in skipped.items():
        say(f"skip {key}: {why}")
    with ExitStack() as stack:
        access = stack.enter_context(dev_access())
        namespace = created(f"bench-{uuid.uuid4().hex[:8]}")
        stack.callback(kubectl, "delete", "namespace", namespace.name, "--wait=false")
        namespace.wait_for_account()
        stack.enter_context(s3_access(api, namespace.name))
        with_pools = pools.crd(api, names.POOL_PLURAL) is not None
        kinds: tuple[str, ...] = (observer.POD, observer.BATCH, observer.JOB)
        kinds += (observer.POOL,) if with_pools else ()
        seen = stack.enter_context(Observer(namespace.name, access, api, kinds))
        runs = Runs(seen, executor_image(), put_inputs(access, namespace.name))
        prefix = access.area(namespace.name).result_key("")
        stack.callback(forget, access, prefix, runs.prefix)
        subjects = selection.latency if s.LATENCY_PART in selection.parts else ()
        if {s.PROCESS, s.CONTEXT} & {*subjects}:
            runs.session = stack.enter_context(a_session(namespace))
        if with_pools and ({s.WARM, s.WARM_S3} & {*subjects} or s.POOL_PART in selection.parts):
            stack.enter_context(pools.pool(runs))
        if subjects:
            with guarded(document, s.LATENCY_PART):
                part = budget.part(sizes.latency)
                document["latency"] = latency.measure(runs, subjects, sizes.rounds, part, skipped)
        if not {s.BURST_PART, s.POOL_PART} & {*selection.parts}:
            return
        usage = stack.enter_context(operator_usage(api))
        if s.BURST_PART in selection.parts:
            with guarded(document, s.BURST_PART):
                bursts.measure(runs, usage, sizes.burst, sizes.burst_rounds, budget, document)
        if s.POOL_PART in selection.parts and with_pools:
            with guarded(document, s.POOL_PART):
                pools.measure(runs, usage, budget, document, quick=sizes.quick)


@contextmanager
def guarded(document: Document, part: str) -> Iterator[None]:
    """A part that fails is named in the document, and the others are measured."""
    try:
        yield
    except (ApiException, HTTPError, KubectlError, RunError, RuntimeError, TimeoutError) as error:
        say(f"{part} has failed: {error!r}")
        document["skipped"][part] = f"it failed: {error}"
        document["failed"] = True


@contextmanager
def s3_access(api: Api, namespace: str) -> Iterator[None]:
    """Let the namespace's bare pods reach the S3 server of devServices, until the context ends."""
    path = f"/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/networkpolicies"
    api.send("POST", path, s3_policy(namespace, RELEASE))
    try:
        yield
    finally:
        api.send("DELETE", f"{path}/{namespace}")


def forget(access: Any, redis_prefix: str, s3_prefix: str) -> None:
    """Delete the run's results in Redis and its inputs in S3."""
    connection = access.redis()
    for key in connection.scan_iter(f"{redis_prefix}*", count=1000):
        connection.delete(key)
    listed = access.s3.list_objects_v2(Bucket=access.bucket, Prefix=s3_prefix)
    for entry in listed.get("Contents", []):
        access.s3.delete_object(Bucket=access.bucket, Key=entry["Key"])


def measure_copies(document: Document, sizes: Sizes) -> None:
    """Copies from S3, on this machine."""
    sync.raise_file_limit()
    sets = sync.file_sets(sizes.small, sizes.large_mib)
    if missing := sync.missing_programs():
        document["skipped"][s.SYNC_PART] = f"not installed: {', '.join(missing)}"
        return
    with guarded(document, s.SYNC_PART):
        document["sync"] = sync.measure(sets, sizes.sync_rounds, say, sizes.sync, uploads=False)


def measure_control_plane(document: Document, sizes: Sizes, budget: Budget) -> None:
    """The part of simulated nodes, if the module is there and the time is enough."""
    if importlib.util.find_spec(HOOK) is None:
        document["skipped"][s.CONTROL_PLANE_PART] = f"there is no module {HOOK}"
        return
    with guarded(document, s.CONTROL_PLANE_PART):
        document["controlPlane"] = importlib.import_module(HOOK).measure(budget, quick=sizes.quick)


def measure(selection: s.Selection, sizes: Sizes) -> Document:
    """Everything that is selected.

    Raises:
        AccessError, ApiException, HTTPError, KubectlError: no cluster with the chart answers.
    """
    budget, api = Budget(sizes.seconds), Api()
    document: Document = {"meta": machine.describe(api, quick=sizes.quick), "skipped": {}}
    began = time.monotonic()
    if s.SYNC_PART in selection.parts:
        measure_copies(document, sizes)
    if {s.LATENCY_PART, s.BURST_PART, s.POOL_PART} & {*selection.parts}:
        measure_jobs(document, selection, sizes, budget, api)
    if s.CONTROL_PLANE_PART in selection.parts:
        measure_control_plane(document, sizes, budget)
    document["meta"]["seconds"] = round(time.monotonic() - began)
    return document


def listing() -> str:
    """All names for --only."""
    width = max(len(one.key) for one in s.LATENCY)
    subjects = [f"{one.key:{width}}  {one.title}" for one in s.LATENCY]
    return "\n".join(["Parts: " + ", ".join(s.PARTS), "Subjects of the part latency:", *subjects])


def main() -> int:
    """Measure, write, and print the tables of a run that leaves out parts."""
    options = parse()
    if options.list:
        print(listing())
        return 0
    if options.render:
        write(json.loads(options.render.read_text()), options.output or options.render.parent)
        return 0
    # So that the namespace is deleted too.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        selection = s.select(options.only)
        config.load_kube_config()  # type: ignore[no-untyped-call]
        document = measure(selection, Sizes(options))
    except s.UnknownNameError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except (AccessError, ApiException, HTTPError, KubectlError, config.ConfigException) as error:
        print(f"bench: no cluster with the chart: run `make demo` first ({error})", file=sys.stderr)
        return 2
    complete = selection.complete and not document.get("failed")
    folder = options.output or Path(COMPLETE if complete else PARTIAL)
    if options.into and not document.get("failed"):
        earlier = json.loads(options.into.read_text(encoding="utf-8"))
        write(data.completed(earlier, document), options.output or options.into.parent)
        return 0
    write(document, folder)
    if not complete:
        with suppress(BrokenPipeError):
            print(report.page(document).partition("## How it is measured")[0])
    return 1 if document.get("failed") else 0


if __name__ == "__main__":
    sys.exit(main())
