"""Lanes overlap with the main sequence; an output is built once; a failure stops everything."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest

from cluster import commands, gobuild
from cluster.cache import artifact
from cluster.gobuild import Program
from cluster.lanes import NICE, parallel_lanes
from cluster.paths import Paths, paths
from cluster.steps import COMMANDS, ClusterError, CommandFailed, Log, UsageError, step
from cluster.ways import Chosen

WAIT_SECONDS = 60
FOREVER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(3600)"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in ("NANOGRID_CLUSTER", "KUBECONFIG", "DOCKER_HOST"):
        monkeypatch.delenv(name, raising=False)
    return paths()


def run_forever(started: threading.Event) -> None:
    """A step whose command runs until it is killed."""
    with step("forever", "run forever") as log:
        started.set()
        log.run(FOREVER, timeout=3600)


def test_an_output_is_built_once_for_two_threads() -> None:
    building, go_on = threading.Event(), threading.Event()
    builds: list[str] = []

    def build(draft: Path, log: Log) -> None:
        builds.append(threading.current_thread().name)
        building.set()
        assert go_on.wait(WAIT_SECONDS)
        log.run([sys.executable, "-c", "print('built')"], timeout=WAIT_SECONDS)
        (draft / "out").write_text("done")

    with parallel_lanes() as lanes:
        lanes.start("builder", lambda: artifact("thing", "k", "make thing", build))
        assert building.wait(WAIT_SECONDS)
        lanes.start("waiter", lambda: artifact("thing", "k", "make thing", build))
        go_on.set()
        found = artifact("thing", "k", "make thing", build)
    assert (found / "out").read_text() == "done"
    assert builds == ["builder"]


def test_different_outputs_are_built_at_the_same_time() -> None:
    both = threading.Barrier(2, timeout=WAIT_SECONDS)

    def build(draft: Path, log: Log) -> None:
        both.wait()

    with parallel_lanes() as lanes:
        lanes.start("a", lambda: artifact("a", "k", "make a", build))
        artifact("b", "k", "make b", build)


def test_the_block_waits_for_its_lanes() -> None:
    done: list[int] = []
    with parallel_lanes() as lanes:
        lanes.start("two steps", lambda: done.append(1), lambda: done.append(2))
    assert done == [1, 2]


def test_a_failed_lane_stops_the_command_of_the_main_sequence() -> None:
    started = threading.Event()

    def fail() -> None:
        assert started.wait(WAIT_SECONDS)
        with step("broken", "break") as log:
            log.run([sys.executable, "-c", "raise SystemExit(3)"], timeout=WAIT_SECONDS)

    def run() -> None:
        with parallel_lanes() as lanes:
            lanes.start("broken", fail)
            run_forever(started)

    with pytest.raises(ClusterError, match=r"step 'broken' failed.*exit status 3"):
        run()
    assert not COMMANDS.stopped


def test_a_failed_main_sequence_stops_its_lanes_and_keeps_its_error() -> None:
    started, later = threading.Event(), threading.Event()

    def run() -> None:
        with parallel_lanes() as lanes:
            lanes.start("forever", lambda: run_forever(started), later.set)
            assert started.wait(WAIT_SECONDS)
            raise UsageError("set something")

    with pytest.raises(UsageError, match="set something"):
        run()
    assert not later.is_set()


def test_an_interrupt_stops_the_lanes() -> None:
    started = threading.Event()

    def run() -> None:
        with parallel_lanes() as lanes:
            lanes.start("forever", lambda: run_forever(started))
            assert started.wait(WAIT_SECONDS)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()


def test_the_failure_of_an_optional_lane_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise CommandFailed("no wheels")

    with parallel_lanes() as lanes:
        lanes.start("images", fail, required=False)
    assert "images: no wheels" in capsys.readouterr().err


def test_an_error_in_our_code_is_not_hidden_by_an_optional_lane() -> None:
    def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError), parallel_lanes() as lanes:
        lanes.start("images", fail, required=False)


def test_only_lanes_have_a_lower_priority() -> None:
    before = os.nice(0)
    code = "import os; print(os.nice(0))"

    def show() -> None:
        with step("nice", "show the priority") as log:
            log.run([sys.executable, "-c", code], timeout=WAIT_SECONDS)

    with parallel_lanes() as lanes:
        lanes.start("nice", show)
    assert (paths().logs / "nice.log").read_text().split()[-1] == str(max(before, NICE))
    assert os.nice(0) == before


class Build:
    """Stand-ins for the builds and the cluster; `order` is the order of their ends."""

    def __init__(self, broken: str | None = None) -> None:
        self.order: list[str] = []
        self.broken = broken
        self._lock = threading.Lock()

    def do(self, name: str) -> Path:
        def make(draft: Path, log: Log) -> None:
            code = "raise SystemExit(3)" if name == self.broken else "pass"
            log.run([sys.executable, "-c", code], timeout=WAIT_SECONDS)
            (draft / name).write_text("")
            with self._lock:
                self.order.append(name)

        return artifact(name, "k", f"make {name}", make)

    def program(self, program: Program) -> Path:
        return self.do("kubectl" if program is gobuild.KUBERNETES else program.name)


def build_and_create(monkeypatch: pytest.MonkeyPatch, build: Build, way: str) -> str:
    class Cluster:
        def healthy(self) -> bool:
            return False

        def complete(self) -> bool:
            return False

        def create(self, image: str) -> None:
            build.do("cluster")
            if way == "build":
                build.do("kube-router")

    chosen = Chosen(way=way, docker_host=None, ours=False)
    monkeypatch.setattr(commands, "_cluster", lambda *_: Cluster())
    monkeypatch.setattr("cluster.ways.choose", lambda here: chosen)
    monkeypatch.setattr("cluster.machine.raise_inotify_limits", lambda: None)
    monkeypatch.setattr(gobuild, "go_command", lambda here: Path("go"))
    monkeypatch.setattr(gobuild, "build", build.program)
    monkeypatch.setattr(commands, "node_root", lambda: build.do("node-os"))
    monkeypatch.setattr(commands, "base_image", lambda engine: build.do("base-os").name)

    def node_image(here: Paths, engine: object) -> str:
        build.program(gobuild.KUBERNETES)
        build.do("node-os")
        return build.do("node-image").name

    monkeypatch.setattr(commands, "node_image", node_image)
    monkeypatch.setattr(commands, "_images", lambda engine: build.do("images"))
    return commands._own_cluster(paths(), images=True)


def test_everything_is_built_once_and_in_order(
    monkeypatch: pytest.MonkeyPatch, own_cache: Paths
) -> None:
    build = Build()
    assert build_and_create(monkeypatch, build, "build") == "created"
    assert sorted(build.order) == sorted(
        ["kind", "kube-router", "helm", "kubectl", "node-os", "node-image", "cluster", "images"]
    )
    for first, second in (
        ("node-os", "node-image"),
        ("node-image", "cluster"),
        ("kind", "cluster"),
    ):
        assert build.order.index(first) < build.order.index(second)
    assert sorted(entry.name for entry in own_cache.bin.iterdir()) == ["helm", "kind", "kubectl"]


def test_with_the_published_image_no_node_is_built(
    monkeypatch: pytest.MonkeyPatch, own_cache: Paths
) -> None:
    build = Build()
    assert build_and_create(monkeypatch, build, "pull") == "created"
    assert sorted(build.order) == ["cluster", "helm", "images", "kind", "kubectl"]


@pytest.mark.parametrize("broken", ["helm", "kube-router", "node-os", "kubectl", "node-image"])
def test_the_step_that_fails_is_the_one_in_the_message(
    monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    with pytest.raises(ClusterError, match=rf"step '{broken}' failed .*exit status 3"):
        build_and_create(monkeypatch, Build(broken), "build")


def test_failed_images_do_not_stop_the_cluster(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build_and_create(monkeypatch, Build("images"), "build") == "created"
    assert "step 'images' failed" in capsys.readouterr().err
