"""Steps and their cache: failures have a full message, a killed run leaves nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cluster import __main__ as cli
from cluster import gobuild, versions, ways
from cluster.cache import artifact, exclusive, key_of
from cluster.paths import Paths, paths
from cluster.steps import ClusterError, CommandFailed, Log, UsageError, capture, step


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in ("NANOGRID_CLUSTER", "KUBECONFIG", "DOCKER_HOST"):
        monkeypatch.delenv(name, raising=False)
    return paths()


def test_paths_follow_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NANOGRID_CLUSTER", "other")
    assert paths().kubeconfig == tmp_path / "nanogrid" / "clusters" / "other" / "kubeconfig"


def test_failed_step_names_itself_its_log_and_its_last_lines(own_cache: Paths) -> None:
    script = "print('almost'); print('no space left'); raise SystemExit(3)"
    with (
        pytest.raises(ClusterError) as caught,
        step("packing", "pack") as log,
    ):
        log.run([sys.executable, "-c", script], timeout=30)
    message = str(caught.value)
    assert "step 'packing' failed" in message
    assert "exit status 3" in message
    assert "| no space left" in message
    assert str(own_cache.logs / "packing.log") in message


def test_step_keeps_the_exit_status_of_a_usage_error() -> None:
    with pytest.raises(UsageError), step("x", "x"):
        raise UsageError("set something")


def test_command_is_stopped_at_its_time_limit() -> None:
    with pytest.raises(CommandFailed, match="not finished within 0 s"):
        capture(["sleep", "20"], timeout=0.2)


def test_artifact_is_built_once() -> None:
    builds: list[Path] = []

    def build(draft: Path, log: Log) -> None:
        builds.append(draft)
        (draft / "out").write_text("done")

    first = artifact("thing", "k1", "make thing", build)
    again = artifact("thing", "k1", "make thing", build)
    other = artifact("thing", "k2", "make thing", build)
    assert (first / "out").read_text() == "done"
    assert first == again != other
    assert len(builds) == 2


def test_unfinished_artifact_is_built_again(own_cache: Paths) -> None:
    def broken(draft: Path, log: Log) -> None:
        (draft / "half").write_text("")
        raise CommandFailed("killed")

    def whole(draft: Path, log: Log) -> None:
        (draft / "whole").write_text("")

    with pytest.raises(ClusterError):
        artifact("thing", "k", "make thing", broken)
    assert not (own_cache.artifacts / "thing-k").exists()
    built = artifact("thing", "k", "make thing", whole)
    assert [file.name for file in built.iterdir()] == ["whole"]


def test_key_depends_on_texts_names_and_contents(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a").write_text("1")
    before = key_of("v1", folder)
    assert key_of("v1", folder) == before
    assert key_of("v2", folder) != before
    (folder / "a").write_text("2")
    changed = key_of("v1", folder)
    (folder / "a").rename(folder / "b")
    assert len({before, changed, key_of("v1", folder)}) == 3


def test_second_run_waits_for_the_first_until_its_timeout(own_cache: Paths) -> None:
    with (
        exclusive(own_cache, 1),
        pytest.raises(ClusterError, match="another run"),
        exclusive(own_cache, 0.1),
    ):
        raise AssertionError("both at once")


@pytest.mark.parametrize(
    ("version", "enough"),
    [("go1.26.0", True), ("go1.27rc1", True), ("go2.0", True), ("go1.25.9", False), ("", False)],
)
def test_go_version(version: str, enough: bool) -> None:
    assert gobuild.recent_enough(version.strip()) is enough


def test_kubernetes_reports_its_version() -> None:
    assert f"gitVersion={versions.KUBERNETES} " in gobuild.KUBERNETES_FLAGS
    assert "gitMajor=1 " in gobuild.KUBERNETES_FLAGS
    assert gobuild.KUBERNETES_FLAGS.endswith("gitMinor=34")


def test_command_is_replaced_atomically(tmp_path: Path, own_cache: Paths) -> None:
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "kind").write_text(name)
        gobuild.publish(own_cache, tmp_path / name, "kind")
    assert (own_cache.bin / "kind").read_text() == "new"
    assert [entry.name for entry in own_cache.bin.iterdir()] == ["kind"]


def test_without_root_or_docker_the_error_lists_three_ways(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert cli.main(["up"]) == 2
    message = capsys.readouterr().err
    for way in ("KUBECONFIG", "Docker engine", "root on Debian"):
        assert way in message


def test_env_without_a_cluster_names_the_command_to_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["env"]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert "make cluster-up" in output.err


def test_env_of_our_cluster(own_cache: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    socket = "unix:///run/it.sock"
    ways.remember(own_cache, ways.Chosen(way="build", docker_host=socket, ours=True))
    own_cache.kubeconfig.write_text("")
    assert cli.main(["env"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"export KUBECONFIG={own_cache.kubeconfig}",
        f"export DOCKER_HOST={socket}",
        "export DOCKER_BUILDKIT=0",
        f'export PATH={own_cache.bin}:"$PATH"',
    ]


def test_env_keeps_the_users_cluster(
    own_cache: Paths, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ways.remember(own_cache, ways.Chosen(way="build", docker_host="unix:///s", ours=True))
    own_cache.kubeconfig.write_text("")
    monkeypatch.setenv("KUBECONFIG", "/home/me/config")
    assert cli.main(["env"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "export KUBECONFIG=/home/me/config",
        f'export PATH={own_cache.bin}:"$PATH"',
    ]


def test_load_into_the_users_cluster_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KUBECONFIG", "/home/me/config")
    assert cli.main(["load", "image:1"]) == 2
    assert "registry" in capsys.readouterr().err


def test_our_exported_kubeconfig_is_not_the_users(
    own_cache: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(own_cache.kubeconfig))
    assert ways.foreign(own_cache) is None
