"""Versions of releases: SemVer for tags, images and the chart, PEP 440 for Python packages."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from scripts.release.errors import ReleaseError

STAGES = ("alpha", "beta", "rc")
_FINAL = len(STAGES)
_PYTHON = ("a", "b", "rc")
_PATTERN = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-(alpha|beta|rc)\.(0|[1-9]\d*))?", re.ASCII
)
_TAG = re.compile(r"v(\d.*)")
SHOWN_FILES = 5


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """A version; a pre-release is lower than its release, as in SemVer."""

    major: int
    minor: int
    patch: int
    stage: int = _FINAL
    number: int = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a version.

        Raises:
            ReleaseError: the text is not SemVer, or a form that PEP 440 or image tags do not have.
        """
        match = _PATTERN.fullmatch(text)
        if match is None:
            message = f"the version {text!r} is not X.Y.Z or X.Y.Z-rc.N"
            hint = "use SemVer without a leading v: 1.4.0, 1.4.0-alpha.1, 1.4.0-beta.1, 1.4.0-rc.1"
            raise ReleaseError(message, hint)
        major, minor, patch, stage, number = match.groups()
        rank = _FINAL if stage is None else STAGES.index(stage)
        return cls(int(major), int(minor), int(patch), rank, int(number or 0))

    def __str__(self) -> str:
        core = f"{self.major}.{self.minor}.{self.patch}"
        return core if self.final else f"{core}-{STAGES[self.stage]}.{self.number}"

    @property
    def final(self) -> bool:
        """Whether it is no pre-release."""
        return self.stage == _FINAL

    @property
    def python(self) -> str:
        """The same version in the form of PEP 440, for example 1.4.0rc1."""
        core = f"{self.major}.{self.minor}.{self.patch}"
        return core if self.final else f"{core}{_PYTHON[self.stage]}{self.number}"

    @property
    def tag(self) -> str:
        """The git tag."""
        return f"v{self}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """The state of the repository.

    Attributes:
        head: the commit that is released.
        changed: files that differ from it, also untracked ones.
        tags: all tags and their commits.
        merged: the tags that ``head`` contains.
        shallow: whether commits before ``head`` are missing.
    """

    head: str
    changed: tuple[str, ...]
    tags: Mapping[str, str]
    merged: frozenset[str]
    shallow: bool = False


def released(tags: Iterable[str]) -> list[Version]:
    """The versions of tags, lowest first; other tags do not count."""
    found = []
    for tag in tags:
        if (match := _TAG.fullmatch(tag)) and _PATTERN.fullmatch(match[1]):
            found.append(Version.parse(match[1]))
    return sorted(found)


def check(version: Version, checkout: Checkout) -> None:
    """Refuse a release that would not be the commit, or not the next version.

    A tag of the version at this commit is no problem: a release can be built again.

    Raises:
        ReleaseError: with the reason and a hint.
    """
    if checkout.changed:
        names = ", ".join(checkout.changed[:SHOWN_FILES])
        more = len(checkout.changed) - SHOWN_FILES
        names += f" and {more} more" if more > 0 else ""
        raise ReleaseError(
            f"the checkout differs from its commit: {names}",
            "commit or stash the changes; a release is built from a commit only",
        )
    if checkout.shallow:
        raise ReleaseError(
            "the checkout has no full history, so tags and commits of the notes are missing",
            "fetch it: git fetch --unshallow --tags",
        )
    commit = checkout.tags.get(version.tag, checkout.head)
    if commit != checkout.head:
        raise ReleaseError(
            f"the tag {version.tag} exists, at commit {commit[:12]}",
            f"choose the next version, or check out {version.tag} to build that release again",
        )
    versions = [known for known in released(checkout.merged) if known != version]
    if versions and version < versions[-1]:
        raise ReleaseError(
            f"{version} is lower than the last release, {versions[-1]}",
            f"choose a version above {versions[-1]}",
        )


def previous(version: Version, merged: Iterable[str]) -> Version | None:
    """The release before a version: what its notes begin at. A release ignores pre-releases."""
    lower = [known for known in released(merged) if known < version]
    if version.final:
        lower = [known for known in lower if known.final]
    return lower[-1] if lower else None


def following(merged: Iterable[str], first: str) -> str:
    """A version above the last release, for a build to compare; ``first`` without a release."""
    versions = released(merged)
    if not versions:
        return first
    last = versions[-1]
    return str(Version(last.major, last.minor, last.patch + 1))


def last_before(checkout: Checkout) -> Version | None:
    """The last release that a commit contains, other than the commit itself."""
    known = released(checkout.merged)
    before = [found for found in known if checkout.tags.get(found.tag) != checkout.head]
    return before[-1] if before else None
