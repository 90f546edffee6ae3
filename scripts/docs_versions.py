"""The versions of the documentation site: their order, the selector and the first page. Pure."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from scripts.release.errors import ReleaseError
from scripts.release.version import Version

DEVELOPMENT: Final = "dev"  # the version of an untagged tree; the last one of the selector


def release_of(text: str) -> Version | None:
    """The version of a release that a text is; None for another text."""
    try:
        return Version.parse(text)
    except ReleaseError:
        return None


def versions(folders: Collection[str]) -> list[dict[str, object]]:
    """The content of versions.json, the newest release first; the development version is last."""
    releases = sorted((v for name in folders if (v := release_of(name))), reverse=True)
    newest = next((v for v in releases if v.final), None)
    found: list[dict[str, object]] = [
        {"version": str(v), "title": str(v), "aliases": ["latest"] if v == newest else []}
        for v in releases
    ]
    if DEVELOPMENT in folders:
        found.append({"version": DEVELOPMENT, "title": DEVELOPMENT, "aliases": []})
    return found


def redirect(listed: Sequence[Mapping[str, object]]) -> str:
    """The first page of the site, which leads to the latest release, else to the first version."""
    version = next((each for each in listed if each["aliases"]), listed[0])["version"]
    return (
        '<!doctype html><meta charset="utf-8"><title>NanoGrid Operator</title>'
        f'<meta http-equiv="refresh" content="0; url={version}/index.html">'
        f'<a href="{version}/index.html">{version}</a>\n'
    )
