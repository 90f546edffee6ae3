"""The workflows of GitHub Actions: pinned actions, few rights, commands that exist."""

import re
from pathlib import Path

import pytest
import yaml

from nanogrid.types import Json
from scripts.release import project
from scripts.release.version import STAGES, Version

ROOT = Path(__file__).parents[3]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.y*ml"))
USES = re.compile(r"^\s*(?:- )?uses:\s*(\S+)(.*)$", re.M)
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}")
LOCAL = re.compile(r"\./\.github/workflows/([\w-]+\.ya?ml)")
# What a job may have beyond reading the commit.
RIGHTS = {
    ("release.yaml", "registry"): {"attestations", "id-token", "packages"},
    ("release.yaml", "pypi"): {"id-token"},
    ("release.yaml", "github"): {"contents"},
    ("release.yaml", "docs"): {"contents"},
}


def load(file: Path) -> Json:
    found: Json = yaml.safe_load(file.read_text(encoding="utf-8"))
    return found


def unpinned(text: str) -> list[str]:
    """The `uses:` without a commit and its version; of this repository, without a file."""
    found = []
    for action, rest in USES.findall(text):
        local = LOCAL.fullmatch(action)
        pinned = PINNED.fullmatch(action) and re.fullmatch(r" # v\d+\.\d+\.\d+", rest)
        if not (pinned or (local and (ROOT / ".github/workflows" / local[1]).exists())):
            found.append(action)
    return found


def test_there_are_workflows() -> None:
    assert {file.name for file in WORKFLOWS} >= {"ci.yaml", "release.yaml"}


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_every_action_is_pinned_by_a_commit_with_its_version(file: Path) -> None:
    text = file.read_text(encoding="utf-8")

    assert unpinned(text) == []
    steps = [s for job in load(file)["jobs"].values() for s in [*job.get("steps", []), job]]
    assert len(USES.findall(text)) == sum("uses" in step for step in steps), "all are found"


@pytest.mark.parametrize(
    "line",
    [
        "uses: actions/checkout@v7",
        f"- uses: actions/checkout@{'a' * 40}",
        f"uses: actions/checkout@{'a' * 39} # v7.0.1",
        f"uses: actions/checkout@{'a' * 40} # v7",
        "- uses: ./.github/workflows/none.yaml",
        "- uses: docker://alpine:3",
    ],
)
def test_an_action_without_a_commit_is_found(line: str) -> None:
    assert unpinned(f"steps:\n  {line}\n")
    assert not unpinned(f"steps:\n  - uses: actions/checkout@{'a' * 40} # v7.0.1\n")


def test_an_action_has_the_same_commit_everywhere() -> None:
    found: dict[str, set[str]] = {}
    for file in WORKFLOWS:
        for action, version in USES.findall(file.read_text(encoding="utf-8")):
            found.setdefault(action.partition("@")[0], set()).add(f"{action}{version}")

    assert {name: pins for name, pins in found.items() if len(pins) != 1} == {}


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_a_job_has_the_rights_that_it_needs_only(file: Path) -> None:
    workflow = load(file)

    assert workflow["permissions"] == {}, "no job has a right that it does not list"
    for name, job in workflow["jobs"].items():
        given = {right for right, level in job["permissions"].items() if level == "write"}
        assert given == RIGHTS.get((file.name, name), set()), name
        for step in job.get("steps", []):
            if str(step.get("uses", "")).startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False, name


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_a_job_ends_and_takes_no_text_of_others_into_its_commands(file: Path) -> None:
    for name, job in load(file)["jobs"].items():
        assert "uses" in job or job["timeout-minutes"] <= 150, name
        for step in job.get("steps", []):
            # An expression in a command is text of the shell: whoever names a branch runs code.
            assert "${{" not in step.get("run", ""), name


def test_only_a_tag_with_a_version_starts_a_release() -> None:
    """The name of a tag is in commands of `make`, which would run $(shell …) in it."""
    workflow = load(ROOT / ".github/workflows/release.yaml")
    patterns = workflow[True]["push"]["tags"]  # YAML 1.1 reads the key `on` as true
    # GitHub's patterns: `.` is a point, `[0-9]+` means digits.
    forms = [re.compile(pattern.replace(".", r"\.")) for pattern in patterns]

    def starts(tag: str) -> bool:
        return any(form.fullmatch(tag) for form in forms)

    assert not [pattern for pattern in patterns if set("*?!") & set(pattern)]
    for text in ("0.1.0", "10.20.30", *(f"1.0.0-{stage}.1" for stage in STAGES)):
        assert starts(Version.parse(text).tag)
    for tag in (
        "v1",
        "v1.0",
        "1.0.0",
        "v1.0.0-",
        "v1.0.0'",
        "v1.0.0-$(shell id)",
        "v1.0.0-rc.1;id",
    ):
        assert not starts(tag)


def test_make_targets_of_the_workflows_exist() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    used = {
        match
        for file in WORKFLOWS
        for match in re.findall(r"run: make ([a-z-]+)", file.read_text(encoding="utf-8"))
    }

    assert used >= {"release", "release-check", "release-push", "release-sign", "test-unit"}
    assert used <= set(targets)


def test_the_workflow_logs_in_to_the_registry_of_the_release() -> None:
    text = (ROOT / ".github/workflows/release.yaml").read_text(encoding="utf-8")

    assert re.findall(r"docker login (\S+)", text) == [project.load().registry.partition("/")[0]]


def test_both_architectures_are_built() -> None:
    matrix = load(ROOT / ".github/workflows/release.yaml")["jobs"]["build"]["strategy"]["matrix"]

    assert {row["architecture"] for row in matrix["include"]} == set(project.ARCHITECTURES)
    parts = [set(row["parts"].split()) for row in matrix["include"]]
    assert all("images" in part for part in parts)
    assert sum("packages" in part for part in parts) == 1, "a package has one builder"


def test_each_supported_python_runs_the_unit_tests() -> None:
    matrix = load(ROOT / ".github/workflows/ci.yaml")["jobs"]["unit"]["strategy"]["matrix"]
    text = (ROOT / "sdk/pyproject.toml").read_text(encoding="utf-8")

    assert matrix["python"] == re.findall(r'"Programming Language :: Python :: (3\.\d+)"', text)
