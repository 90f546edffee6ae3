"""Tools that are built on request: their cache keys, and their images."""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from cluster import gobuild, toolimages
from cluster.engine import Engine
from cluster.gobuild import HELM, PROMETHEUS, TOOLS
from cluster.paths import Paths
from cluster.steps import Log


def test_tags_are_inputs_of_a_build() -> None:
    assert replace(PROMETHEUS, tags="").key != PROMETHEUS.key
    assert replace(PROMETHEUS, tags="remove_all_sd").key != PROMETHEUS.key
    assert replace(HELM, tags="").key == HELM.key
    assert "-tags" not in gobuild._flags(HELM)
    flags = gobuild._flags(PROMETHEUS)
    assert flags[flags.index("-tags") + 1] == PROMETHEUS.tags


def test_prometheus_and_promtool_are_one_build() -> None:
    assert TOOLS["prometheus"] is TOOLS["promtool"]
    built = {package.rpartition("/")[2] for package in PROMETHEUS.packages}
    assert built == {"prometheus", "promtool"}


IMPORTED: dict[str, tuple[bytes, object]] = {}


class RecordingEngine(Engine):
    """An engine that keeps the layers of imported images in memory."""

    def has_image(self, image: str) -> bool:
        return image in IMPORTED

    def import_tar(self, log: Log, tar: Path, image: str, changes: object) -> None:
        IMPORTED[image] = (tar.read_bytes(), changes)


def test_an_image_has_the_binary_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    built = tmp_path / "built"
    built.mkdir()
    (built / "prometheus").write_bytes(b"binary")
    monkeypatch.setattr(toolimages.gobuild, "build", lambda program: built)
    IMPORTED.clear()
    engine, here = RecordingEngine(None, ours=True, can_pull=False), Paths(tmp_path / "x", "test")
    name = toolimages.tool_image(here, engine, "prometheus")
    (built / "prometheus").write_bytes(b"not read again")
    again = toolimages.tool_image(here, engine, "prometheus")

    layer, changes = IMPORTED[name]
    assert again == name == toolimages.image_name("prometheus")
    assert changes == ['ENTRYPOINT ["/usr/local/bin/prometheus"]']
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        (entry,) = tar.getmembers()
    assert (entry.name, entry.uid, entry.mode) == ("usr/local/bin/prometheus", 0, 0o755)
