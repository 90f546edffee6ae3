"""Release notes: the section of CHANGELOG.md, and the commits since the last release by area."""

import re
from collections.abc import Iterable

from scripts.release.project import Project
from scripts.release.version import Version

OTHER = "Other"
# Titles, in the order of the notes, and the areas of commit subjects below each.
AREAS: dict[str, tuple[str, ...]] = {
    "Operator": ("operator", "redis", "delivery"),
    "Sandbox and sessions": (
        "executor", "executor-image", "session", "sessions", "inputs", "outputs", "archives",
    ),
    "Gateway and web page": ("gateway", "web", "api", "router"),
    "Client and command line": ("sdk", "cli", "client", "s3"),
    "Chart and clusters": ("chart", "eks", "network", "cluster", "images"),
    "Observability": ("metrics", "traces", "alerts", "dashboards", "logs", "cloudwatch"),
    "Documentation": ("docs",),
    "Tests and build": (
        "tests", "e2e", "chaos", "bench", "scripts", "ci", "release", "names", "build",
    ),
}  # fmt: skip
MOST = 40  # per area: notes are read by people
_SUBJECT = re.compile(r"(?P<areas>[a-z0-9][a-z0-9 ,./-]*): (?P<text>.+)")
_TITLES = {area: title for title, areas in AREAS.items() for area in areas}


def area(subject: str) -> tuple[str, str]:
    """The title of a commit subject, and its text; the first known area of several counts."""
    match = _SUBJECT.fullmatch(subject)
    if match is None:
        return OTHER, subject
    for name in re.split(r"[,/ ]+", match["areas"]):
        if name in _TITLES:
            return _TITLES[name], match["text"]
    return OTHER, subject


def by_area(commits: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Lines by title, in the order of the titles; a commit is (hash, subject)."""
    found: dict[str, list[str]] = {title: [] for title in (*AREAS, OTHER)}
    for commit, subject in commits:
        title, text = area(subject)
        found[title].append(f"- {text} ({commit[:10]})")
    return {title: lines for title, lines in found.items() if lines}


def section(changelog: str, version: Version) -> str:
    """The text of the version in a changelog; of Unreleased if the version has none."""
    parts = re.split(r"^## \[(.+?)\].*$", changelog, flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    text = sections.get(str(version), sections.get("Unreleased", ""))
    # The links at the end of the file belong to no section.
    return re.sub(r"^\[[^]]+\]: \S+$", "", text, flags=re.MULTILINE).strip()


def render(
    version: Version,
    project: Project,
    *,
    since: Version | None,
    commits: Iterable[tuple[str, str]],
    changelog: str,
) -> str:
    """The notes in Markdown."""
    lines = [f"# NanoGrid {version}", ""]
    if text := section(changelog, version):
        lines += [text, ""]
    lines += [
        "## Install",
        "",
        "```console",
        f"$ helm install nanogrid {project.chart} --version {version} -n nanogrid-system",
        f"$ pip install 'nanogrid[cli]=={version.python}'",
        "```",
        "",
        f"Upgrade notes, support matrix, and how to verify signatures: {project.repository}"
        f"/blob/{version.tag}/docs/releases.md",
        "",
        f"## Commits since {since.tag}" if since else "## Commits",
    ]
    for title, found in by_area(commits).items():
        lines += ["", f"### {title}", "", *found[:MOST]]
        if len(found) > MOST:
            lines.append(f"- and {len(found) - MOST} more")
    return "\n".join(lines) + "\n"
