"""Build the documentation site of one version, for `make docs`.

The site is made from a copy of the pages in which each link leads to a page: a linked folder
becomes its README or a list of its files, and any other linked file becomes a page with its text. A
link to a missing page or heading, or to a file that git does not know, ends the build. So does a
page that loads something from another host: a reader may have no Internet.

Each version has its own folder below the site's, so that older versions stay. `versions.json` feeds
the version selector.
"""

import argparse
import json
import os
import posixpath
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # by default Python adds only scripts/

from scripts import docs_offline  # noqa: E402
from scripts.docs_offline import SiteError  # noqa: E402
from scripts.docs_versions import DEVELOPMENT, redirect, release_of, versions  # noqa: E402

CONFIG: Final = "zensical.toml"
# Both are named in CONFIG.
COPY: Final = ROOT / "build/docs"
BUILT: Final = ROOT / "build/page"
BUILD_SECONDS: Final = 300
# What the site begins with; linked files follow.
STARTS: Final = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/")

# A code span, which has no links, or the target of a link: path and anchor.
_LINK = re.compile(r"`[^`\n]*`|\]\((?P<path>[^)\s#]+)(?P<anchor>#[^)\s]*)?\)")
_FENCE = re.compile(r"^( *)(`{3,}).*?^\1\2`*$", re.DOTALL | re.MULTILINE)
_CODE_SPAN = re.compile(r"`[^`\n]+`")
_ITEM = re.compile(r"( *)([-*]|\d+\.) ")
_IMAGES = (".png", ".svg")


def outside_fences(text: str, change: Callable[[str], str]) -> str:
    """The text with the parts between its fenced code blocks changed."""
    parts, end = [], 0
    for fence in _FENCE.finditer(text):
        parts += [change(text[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, change(text[end:])])


def target_of(page: str, link: str) -> str | None:
    """The path in the repository that a link of a page means; None for a link to elsewhere."""
    if re.match(r"[a-z]+:", link) or link.startswith("/"):
        return None
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), link))


def page_of(target: str, files: Collection[str]) -> str:
    """The page that shows a file or folder of the repository.

    Raises:
        SiteError: There is no such file or folder.
    """
    if target in files:
        return target if target.endswith((".md", *_IMAGES)) else f"{target}.md"
    readme = f"{target}/README.md"
    if readme in files:
        return readme
    if any(file.startswith(f"{target}/") for file in files):
        return f"{target}/index.md"
    raise SiteError(f"the file {target} does not exist, or is not in git")


def with_page_links(page: str, text: str, files: Collection[str]) -> str:
    """A page whose links lead to pages.

    Raises:
        SiteError: A link leads to no file of ``files``.
    """

    def link(match: re.Match[str]) -> str:
        target = target_of(page, match["path"]) if match["path"] else None
        if target is None:
            return match[0]
        try:
            shown = page_of(target, files)
        except SiteError as problem:
            raise SiteError(f"{page}: the link {match['path']}: {problem}") from None
        relative = posixpath.relpath(shown, posixpath.dirname(page) or ".")
        return f"]({relative}{match['anchor'] or ''})"

    return outside_fences(text, lambda part: _LINK.sub(link, part))


def for_python_markdown(text: str) -> str:
    """A page of GitHub's Markdown as Python-Markdown understands it.

    There a vertical bar inside code of a table needs no backslash, a list needs an empty line
    before it, and a list inside a list is indented by four spaces.
    """

    def changed(line: str, before: str) -> str:
        item = _ITEM.match(line)
        if item and item[1]:
            return item[1] + line
        if item and before and not before.startswith(" ") and not _ITEM.match(before):
            return f"\n{line}"
        if line.startswith("|"):
            return _CODE_SPAN.sub(lambda code: code[0].replace("\\|", "|"), line)
        return line

    def change(part: str) -> str:
        lines = part.split("\n")
        return "\n".join(map(changed, lines, ["", *lines]))

    return outside_fences(text, change)


def linked(page: str, text: str) -> Iterator[str]:
    """The paths in the repository that a page links to."""
    for match in _LINK.finditer(_FENCE.sub("", text)):
        target = target_of(page, match["path"]) if match["path"] else None
        if target is not None:
            yield target


def as_page(path: str, text: str) -> str:
    """A page that shows a file which is no page."""
    language = PurePosixPath(path).suffix.lstrip(".") or "text"
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"# {path}\n\n{fence}{language}\n{text.rstrip()}\n{fence}\n"


def as_list(folder: str, files: Iterable[str]) -> str:
    """A page that lists the files of a folder."""
    names = sorted(f.removeprefix(f"{folder}/") for f in files if f.startswith(f"{folder}/"))
    return f"# {folder}\n\n" + "".join(f"- [{name}]({name})\n" for name in names)


def pages(files: Collection[str], read: Callable[[str], str]) -> dict[str, str]:
    """All pages of the site: path and text.

    Args:
        files: The paths of all files in the repository.
        read: Returns the text of one of them.

    Raises:
        SiteError: A link leads to no file.
    """
    made: dict[str, str] = {}
    waiting = sorted(f for f in files if f.endswith(".md") and f.startswith(STARTS))
    while waiting:
        path = waiting.pop()
        shown = page_of(path, files)
        if shown in made or shown.endswith(_IMAGES):
            continue
        if shown.endswith("/index.md") and shown not in files:
            text = as_list(path, files)
        elif shown == f"{path}.md":
            made[shown] = as_page(path, read(path))
            continue
        else:
            text = read(shown)
        page = docs_offline.with_diagrams(shown, with_page_links(shown, text, files))
        made[shown] = for_python_markdown(page)
        waiting += linked(shown, text)
    return made


def _files() -> set[str]:
    # Also files that are not committed yet, so that a writer sees them.
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return {f for f in listed.split("\0") if f and (ROOT / f).is_file()}


def copy_pages() -> tuple[int, bool]:
    """Write all pages and images into the folder that CONFIG names.

    Returns:
        The number of pages, and whether one has diagrams.
    """
    files = _files()
    made = pages(files, lambda path: (ROOT / path).read_text(encoding="utf-8"))
    shutil.rmtree(COPY, ignore_errors=True)
    for path, text in made.items():
        file = COPY / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    for image in (f for f in files if f.startswith("docs/") and f.endswith(_IMAGES)):
        (COPY / image).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / image, COPY / image)
    return len(made), any(map(docs_offline.has_diagrams, made.values()))


def render(with_mermaid: bool) -> int:
    """Build the pages into the folder that CONFIG names; returns their number.

    Args:
        with_mermaid: Also get the script that draws the diagrams; it needs npm.

    Raises:
        SiteError: A page or heading that a link names does not exist, a page loads something from
            another host, or npm cannot get the script.
    """
    number, diagrams = copy_pages()
    if diagrams and with_mermaid:
        docs_offline.add_mermaid(COPY)
    shutil.rmtree(BUILT, ignore_errors=True)
    # --clean: a cached build would not report the broken links of unchanged pages.
    command = ["zensical", "build", "--strict", "--clean", "--config-file", CONFIG]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        report = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
        raise SiteError(f"fix these links or pages:\n{report.partition('Traceback')[0].strip()}")
    if elsewhere := [*docs_offline.loaded_from_elsewhere(BUILT)]:
        raise SiteError("\n".join(["these pages load from other hosts:", *elsewhere]))
    return number


def build(version: str, site: Path) -> None:
    """Build the pages into ``site``/``version``, and update what belongs to all versions.

    Raises:
        SiteError: As :func:`render`.
    """
    number = render(with_mermaid=True)
    shutil.rmtree(site / version, ignore_errors=True)
    site.mkdir(parents=True, exist_ok=True)
    shutil.move(BUILT, site / version)
    listed = versions([each.name for each in site.iterdir() if each.is_dir()])
    (site / "versions.json").write_text(json.dumps(listed, indent=1) + "\n", encoding="utf-8")
    (site / "index.html").write_text(redirect(listed), encoding="utf-8")
    print(f"docs: {number} pages of version {version}: {site / version / 'index.html'}")


def main() -> None:
    """Build the site."""
    parser = argparse.ArgumentParser(prog="docs", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--version", default=DEVELOPMENT, help="X.Y.Z, or dev (default: %(default)s)"
    )
    parser.add_argument(
        "--site",
        type=Path,
        default=ROOT / "build/site",
        help="folder of all versions (default: build/site); versions in it are kept",
    )
    parser.add_argument("--check", action="store_true", help="only check the pages; without npm")
    options = parser.parse_args()
    if options.version != DEVELOPMENT and release_of(options.version) is None:
        parser.error(f"the version {options.version!r} is not X.Y.Z and not {DEVELOPMENT}")
    try:
        if options.check:
            print(f"docs: {render(with_mermaid=False)} pages are checked")
        else:
            build(options.version, options.site)
    except SiteError as problem:
        sys.exit(f"docs: {problem}")


if __name__ == "__main__":
    main()
