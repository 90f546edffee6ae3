"""The version of a release is set in each file that has one, and only in a copy of the tree."""

import json
import re
import shutil
import tomllib
from pathlib import Path

import pytest
import yaml

from nanogrid.types import Json
from scripts.release import contents, notes, project, stamp
from scripts.release.errors import ReleaseError
from scripts.release.version import Version

ROOT = Path(__file__).parents[3]
VERSION = Version.parse("7.8.9-rc.2")
FOLDERS = (*project.PACKAGES.values(), *stamp.RUNTIMES)
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / project.CHART / "Chart.yaml",
    *(ROOT / "docs").glob("**/*.md"),
    *(ROOT / folder / "pyproject.toml" for folder in FOLDERS),
    *(ROOT / folder / "README.md" for folder in project.PACKAGES.values()),
    *(ROOT / ".github/workflows").glob("*.yaml"),
]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for folder in (".", *FOLDERS):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / folder / "pyproject.toml", tmp_path / folder / "pyproject.toml")
    for name in ("uv.lock", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / project.CHART, tmp_path / project.CHART)
    return tmp_path


def package(root: Path, folder: str) -> Json:
    found: Json = tomllib.loads((root / folder / "pyproject.toml").read_text())["project"]
    return found


def chart(root: Path, name: str) -> Json:
    found: Json = yaml.safe_load((root / project.CHART / name).read_text())
    return found


def test_all_versions_of_the_tree_are_that_of_the_workspace() -> None:
    version = project.version()
    described = chart(ROOT, "Chart.yaml")

    assert {package(ROOT, folder)["version"] for folder in FOLDERS} == {version}
    assert (described["version"], described["appVersion"]) == (version, version)
    Version.parse(version)


def test_a_release_sets_every_version(tree: Path) -> None:
    stamp.tree(tree, VERSION, project.load(tree))

    assert {package(tree, folder)["version"] for folder in (".", *FOLDERS)} == {VERSION.python}
    described = chart(tree, "Chart.yaml")
    assert (described["version"], described["appVersion"]) == ("7.8.9-rc.2", "7.8.9-rc.2")
    locked = tomllib.loads((tree / "uv.lock").read_text())["package"]
    ours = {p["name"]: p["version"] for p in locked if p["name"].startswith("nanogrid")}
    assert set(ours.values()) == {VERSION.python}
    assert len(ours) == len(FOLDERS) + 1
    others = [p for p in locked if p["name"] not in ours]
    before = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    assert others == [p for p in before if p["name"] not in ours]


def test_the_packages_of_a_release_need_each_other_in_this_version(tree: Path) -> None:
    stamp.tree(tree, VERSION, project.load(tree))

    for name, folder in project.PACKAGES.items():
        before = package(ROOT, folder)
        after = package(tree, folder)["dependencies"]
        own = [text for text in after if text.startswith("nanogrid")]
        assert own == [f"{text}=={VERSION.python}" for text in before["dependencies"]
                       if text.startswith("nanogrid")]  # fmt: skip
        assert bool(own) == (name != "nanogrid")
        assert len(after) == len(before["dependencies"])
        assert (tree / folder / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


def test_the_chart_of_a_release_names_the_registry_once(tree: Path) -> None:
    settings = project.load(tree)
    stamp.tree(tree, VERSION, settings)

    before, after = chart(ROOT, "values.yaml"), chart(tree, "values.yaml")
    assert after["global"]["imageRegistry"] == settings.registry
    assert after | {"global": before["global"]} == before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("uv.lock", 'name = "nanogrid-gateway"\nversion', 'name = "nanogrid-gateway"\nrevision'),
        ("sdk/pyproject.toml", 'version = "', 'dynamic = "'),
        (f"{project.CHART}/Chart.yaml", "appVersion:", "application:"),
        (f"{project.CHART}/values.yaml", 'imageRegistry: ""', "imageRegistry:"),
    ],
)
def test_a_file_of_another_form_ends_the_release(tree: Path, name: str, old: str, new: str) -> None:
    file = tree / name
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))

    with pytest.raises(ReleaseError, match="places for the version"):
        stamp.tree(tree, VERSION, project.load(tree))


def test_the_list_of_images_has_every_image_of_the_chart() -> None:
    settings = project.load()
    listed = [
        line for line in contents.image_list(settings, VERSION).splitlines() if line[0] != "#"
    ]

    for image in chart(ROOT, "values.yaml")["image"].values():
        if isinstance(image, dict):
            assert f"{settings.registry}/{image['repository']}:{VERSION}" in listed
    assert len(listed) == len(set(listed)) == len(project.IMAGES)


def test_documents_name_the_registry_and_repository_of_the_settings() -> None:
    settings = project.load()
    host = settings.registry.partition("/")[0]
    seen = 0
    for file in DOCUMENTS:
        text = file.read_text(encoding="utf-8")
        for found in re.findall(rf"{re.escape(host)}/[\w.-]+", text):
            assert found == settings.registry, file
            seen += 1
        for found in re.findall(r"https://github\.com/[\w.-]+/nanogrid[\w-]*", text):
            assert found == settings.repository, file
            seen += 1
    assert seen > 20, "the search finds the addresses that are there"


def test_the_commit_that_upgrades_are_tested_from_is_named_whole() -> None:
    assert re.fullmatch(r"[0-9a-f]{40}", project.load().baseline)


def test_the_changelog_has_a_section_for_what_is_not_released() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")

    headings = re.findall(r"^## (.*)$", text, re.M)
    assert headings[0] == "[Unreleased]"
    for heading in headings[1:]:
        match = re.fullmatch(r"\[(.+)\] - \d{4}-\d\d-\d\d", heading)
        assert match is not None, heading
        Version.parse(match[1])
    kinds = set(re.findall(r"^### (.*)$", text, re.M))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


CHANGELOG = """# Changelog

## [Unreleased]

New.

## [1.0.0] - 2026-12-01

First.

[1.0.0]: https://example.org/1.0.0
"""


@pytest.mark.parametrize(
    ("text", "expected"), [("1.0.0", "First."), ("1.1.0", "New."), ("1.0.0-rc.1", "New.")]
)
def test_notes_have_the_section_of_their_version(text: str, expected: str) -> None:
    assert notes.section(CHANGELOG, Version.parse(text)) == expected


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        ("operator: accept more", ("Operator", "accept more")),
        ("redis, s3: read settings", ("Operator", "read settings")),
        ("unknown, cli: add a command", ("Client and command line", "add a command")),
        ("novel: a story", ("Other", "novel: a story")),
        ("Merge branch 'web'", ("Other", "Merge branch 'web'")),
        ("Run code: in the pod", ("Other", "Run code: in the pod")),
    ],
)
def test_a_commit_belongs_to_the_first_area_that_is_known(
    subject: str, expected: tuple[str, str]
) -> None:
    assert notes.area(subject) == expected


def test_notes_group_commits_and_are_bounded() -> None:
    count = notes.MOST + 3
    commits = [(f"{n:040x}", f"operator: change {n}") for n in range(count)]
    commits.append(("f" * 40, "docs: explain"))

    text = notes.render(
        VERSION, project.load(), since=Version.parse("7.0.0"), commits=commits, changelog=CHANGELOG
    )

    assert "## Commits since v7.0.0\n" in text
    assert text.index("### Operator") < text.index("### Documentation")
    assert text.count("- change ") == notes.MOST
    assert "- and 3 more\n" in text
    assert "- explain (ffffffffff)" in text
    assert "pip install 'nanogrid[cli]==7.8.9rc2'" in text
    assert f"{project.load().chart} --version 7.8.9-rc.2" in text


def test_all_crds_are_in_one_file() -> None:
    files = {path.name: path.read_text() for path in (ROOT / "crds").glob("*.yaml")}

    found = list(yaml.safe_load_all(contents.crds(files)))

    assert [crd["kind"] for crd in found] == ["CustomResourceDefinition"] * len(files)
    assert json.loads(json.dumps(found)) == [yaml.safe_load(files[name]) for name in sorted(files)]
