"""Set the version of a release in a copy of the tree."""

import re
import shutil
from pathlib import Path

from scripts.release.errors import ReleaseError
from scripts.release.project import CHART, PACKAGES, Project
from scripts.release.version import Version

RUNTIMES = ("executor-image/runtimes/python-data",)
_PROJECT_VERSION = re.compile(r'^version = "[^"]*"$', re.MULTILINE)
_LOCKED = re.compile(r'(^name = "nanogrid[a-z-]*"\nversion = ")[^"]*(")', re.MULTILINE)
# The requirement of another package of ours: "nanogrid" or "nanogrid[kube,s3]".
_OWN_REQUIREMENT = re.compile(r'"(nanogrid(?:\[[a-z0-9,]+\])?)"')
_CHART_VERSION = re.compile(r"^(version|appVersion): .*$", re.MULTILINE)
_REGISTRY = re.compile(r'^(  imageRegistry: )""$', re.MULTILINE)


def _replace(pattern: re.Pattern[str], by: str, text: str, where: str, count: int) -> str:
    changed, found = pattern.subn(by, text)
    if found != count:
        raise ReleaseError(
            f"{where} has {found} places for the version instead of {count}",
            "adapt scripts/release/stamp.py to the new form of the file",
        )
    return changed


def pyproject(text: str, version: Version, where: str = "pyproject.toml") -> str:
    """The version of a package."""
    return _replace(_PROJECT_VERSION, f'version = "{version.python}"', text, where, 1)


def requirements(text: str, version: Version) -> str:
    """Packages of ours require each other in exactly this version."""
    head, mark, rest = text.partition("\ndependencies = [")
    listed, end, tail = rest.partition("]\n")
    listed = _OWN_REQUIREMENT.sub(rf'"\1=={version.python}"', listed)
    return head + mark + listed + end + tail


def lock(text: str, version: Version, members: int) -> str:
    """The versions of the workspace's members in uv.lock."""
    return _replace(_LOCKED, rf"\g<1>{version.python}\g<2>", text, "uv.lock", members)


def chart(text: str, version: Version) -> str:
    """Version and appVersion of Chart.yaml; appVersion is the default tag of all images."""
    return _replace(_CHART_VERSION, rf"\1: {version}", text, "Chart.yaml", 2)


def values(text: str, registry: str) -> str:
    """The registry of all images, so that the chart works without values for them."""
    return _replace(_REGISTRY, rf"\g<1>{registry}", text, "values.yaml", 1)


def tree(root: Path, version: Version, project: Project) -> None:
    """Stamp the files of a tree."""
    folders = (*PACKAGES.values(), *RUNTIMES)
    for folder in (".", *folders):
        file = root / folder / "pyproject.toml"
        text = pyproject(file.read_text(encoding="utf-8"), version, f"{folder}/pyproject.toml")
        if folder in PACKAGES.values() and folder != PACKAGES["nanogrid"]:
            text = requirements(text, version)
        file.write_text(text, encoding="utf-8")
    for folder in PACKAGES.values():
        # A package takes its license from its own folder. The tree has one copy only.
        shutil.copy(root / "LICENSE", root / folder / "LICENSE")
    locked, described, defaults = (
        root / "uv.lock", root / CHART / "Chart.yaml", root / CHART / "values.yaml"
    )  # fmt: skip
    content = lock(locked.read_text(encoding="utf-8"), version, len(folders) + 1)
    locked.write_text(content, encoding="utf-8")
    described.write_text(chart(described.read_text(encoding="utf-8"), version), encoding="utf-8")
    text = values(defaults.read_text(encoding="utf-8"), project.registry)
    defaults.write_text(text, encoding="utf-8")
