"""The chart of a release, as helm reads it: valid, and without an image from elsewhere."""

import re
import shutil
from pathlib import Path

import pytest
import yaml

from scripts.release import chart, contents, project, stamp
from scripts.release.version import Version
from support.helm import REAL, helm

ROOT = Path(__file__).parents[2]
VERSION = Version.parse("7.8.9-rc.2")
# On one line: a field of the CRDs is named image too.
IMAGE = re.compile(r"(?:image|NANOGRID_EXECUTOR_IMAGE, value): \"?([^\s\"}]+)")


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = tmp_path_factory.mktemp("tree")
    for name in ("pyproject.toml", "uv.lock", "LICENSE"):
        shutil.copy(ROOT / name, tree / name)
    for folder in (*project.PACKAGES.values(), *stamp.RUNTIMES):
        (tree / folder).mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / folder / "pyproject.toml", tree / folder / "pyproject.toml")
    shutil.copytree(ROOT / project.CHART, tree / project.CHART)
    stamp.tree(tree, VERSION, project.load(tree))
    return chart.package(tree, tree, VERSION, 1_800_000_000)


def test_helm_reads_the_package(packed: Path) -> None:
    shown = helm("show", "chart", str(packed))
    assert shown.returncode == 0, shown.stderr
    described = yaml.safe_load(shown.stdout)
    assert (described["version"], described["appVersion"]) == (str(VERSION), str(VERSION))
    linted = helm("lint", "--strict", str(packed), values=REAL)
    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_a_release_runs_the_images_of_its_list_only(packed: Path) -> None:
    done = helm(
        "template", "nanogrid", str(packed), values=REAL | {"egressProxy": {"enabled": True}}
    )
    assert done.returncode == 0, done.stderr

    rendered = set(IMAGE.findall(done.stdout))
    settings = project.load()
    listed = contents.image_list(settings, VERSION).splitlines()
    names = ("operator", "executor", "gateway")
    assert rendered == {settings.image(name, str(VERSION)) for name in names}
    assert rendered <= set(listed)


def test_another_registry_has_all_images(packed: Path) -> None:
    mirror = "registry.example:5000/mirror"
    done = helm(
        "template", "nanogrid", str(packed), "--set", f"global.imageRegistry={mirror}", values=REAL
    )
    assert done.returncode == 0, done.stderr

    rendered = IMAGE.findall(done.stdout)
    assert len(rendered) >= 3
    assert all(image.startswith(f"{mirror}/nanogrid-") for image in rendered)
