"""The documentation site: links lead to pages, the navigation is complete, versions in order."""

import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from scripts import docs_site
from scripts.docs_site import SiteError

FILES = {"README.md", "docs/a.md", "docs/deep/README.md", "examples/x/job.yaml", "docs/i.png"}


def in_navigation(entries: list[Any]) -> list[str]:
    """The pages of a navigation, in order."""
    found: list[str] = []
    for entry in entries:
        if isinstance(entry, str):
            found.append(entry)
        else:
            found += [page for below in entry.values() for page in in_navigation(below)]
    return found


def site(files: dict[str, str]) -> dict[str, str]:
    return docs_site.pages(files, files.__getitem__)


def test_every_page_of_docs_is_in_the_navigation_once() -> None:
    configuration = tomllib.loads(Path("zensical.toml").read_text(encoding="utf-8"))
    listed = in_navigation(configuration["project"]["nav"])
    written = {str(p) for p in Path("docs").rglob("*.md") if "decisions" not in p.parts}

    assert len(listed) == len(set(listed))
    assert written - set(listed) == set()
    assert [page for page in listed if not Path(page).is_file()] == []


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("../README.md#start", "../README.md#start"),
        ("#here", "#here"),
        ("i.png", "i.png"),
        ("deep", "deep/README.md"),
        ("../examples/x", "../examples/x/index.md"),
        ("../examples/x/", "../examples/x/index.md"),
        ("../examples/x/job.yaml", "../examples/x/job.yaml.md"),
        ("https://example.com/a.md", "https://example.com/a.md"),
    ],
)
def test_a_link_leads_to_a_page(link: str, expected: str) -> None:
    changed = docs_site.with_page_links("docs/a.md", f"See [`it`]({link}).", FILES)

    assert changed == f"See [`it`]({expected})."


@pytest.mark.parametrize("link", ["b.md", "../examples/y", "../../README.md", "deep/none.md#x"])
def test_a_link_to_no_file_is_refused_with_page_and_link(link: str) -> None:
    with pytest.raises(SiteError) as refused:
        docs_site.with_page_links("docs/a.md", f"[it]({link})", FILES)

    assert str(refused.value).startswith(f"docs/a.md: the link {link.partition('#')[0]}: the file")


@pytest.mark.parametrize("text", ["`[it](none.md)`", "```\n[it](none.md)\n```"])
def test_code_has_no_links(text: str) -> None:
    assert docs_site.with_page_links("docs/a.md", text, FILES) == text
    assert list(docs_site.linked("docs/a.md", text)) == []


def test_linked_files_and_folders_become_pages() -> None:
    made = site(
        {
            "README.md": "[all](examples/x) [one](examples/x/job.yaml) ![i](docs/i.png)",
            "examples/x/job.yaml": "kind: Job\n# ```\n",
            "docs/i.png": "",
            "other.py": "",
        }
    )

    assert sorted(made) == ["README.md", "examples/x/index.md", "examples/x/job.yaml.md"]
    assert made["examples/x/index.md"] == "# examples/x\n\n- [job.yaml](job.yaml.md)\n"
    assert made["examples/x/job.yaml.md"].endswith("\n````yaml\nkind: Job\n# ```\n````\n")


def test_lists_and_tables_suit_python_markdown() -> None:
    text = "Items:\n- one\n  - in it\n  more\n- two\n\n| `a \\| b` | c \\| d |\n```\nx\n- y\n```"

    assert docs_site.for_python_markdown(text) == (
        "Items:\n\n- one\n    - in it\n  more\n- two\n\n| `a | b` | c \\| d |\n```\nx\n- y\n```"
    )


def test_the_newest_release_is_first_and_the_development_version_last() -> None:
    listed = docs_site.versions(["dev", "0.9.0", "0.10.0", "1.0.0-rc.1", "assets", "0.10.0-rc.1"])

    assert [each["version"] for each in listed] == [
        "1.0.0-rc.1",
        "0.10.0",
        "0.10.0-rc.1",
        "0.9.0",
        "dev",
    ]
    assert [each["version"] for each in listed if each["aliases"]] == ["0.10.0"]
    assert "url=0.10.0/index.html" in docs_site.redirect(listed)
    unreleased = docs_site.versions(["dev", "0.1.0-rc.9", "0.1.0-rc.10"])
    assert [each["version"] for each in unreleased] == ["0.1.0-rc.10", "0.1.0-rc.9", "dev"]
    assert "url=0.1.0-rc.10/index.html" in docs_site.redirect(unreleased)


def run(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(root / "scripts/docs_site.py"), *arguments]
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A repository with two pages."""
    (tmp_path / "scripts/release").mkdir(parents=True)
    for script in ("docs_site.py", "release/errors.py", "release/version.py"):
        shutil.copy(f"scripts/{script}", tmp_path / "scripts" / script)
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("# Start\n\n[a](docs/a.md#part)\n", encoding="utf-8")
    (tmp_path / "docs/a.md").write_text("# A\n\n## Part\n", encoding="utf-8")
    (tmp_path / "zensical.toml").write_text(
        '[project]\nsite_name = "Small"\ndocs_dir = "build/docs"\nsite_dir = "build/page"\n'
        "use_directory_urls = false\n",
        encoding="utf-8",
    )
    (tmp_path / ".gitignore").write_text("build/\n.cache/\n", encoding="utf-8")
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    return tmp_path


def test_a_version_is_added_and_the_others_stay(small: Path) -> None:
    for version in ("0.1.0", "0.2.0", "0.2.0"):
        done = run(small, "--version", version)
        assert done.returncode == 0, done.stderr

    folder = small / "build/site"
    assert [each["version"] for each in json.loads((folder / "versions.json").read_text())] == [
        "0.2.0",
        "0.1.0",
    ]
    assert "0.2.0/index.html" in (folder / "index.html").read_text()
    for version in ("0.1.0", "0.2.0"):
        assert 'href="docs/a.html#part"' in (folder / version / "index.html").read_text()
        assert (folder / version / "search.json").is_file()


def test_a_missing_heading_ends_the_build_and_leaves_the_site_as_it_was(small: Path) -> None:
    assert run(small, "--version", "0.1.0").returncode == 0
    (small / "docs/a.md").write_text("# A\n\n## Other\n", encoding="utf-8")

    done = run(small, "--version", "0.1.0")

    assert done.returncode == 1
    assert "anchor does not exist" in done.stderr
    assert "README.md:3" in done.stderr
    assert (small / "build/site/0.1.0/index.html").is_file()


def test_a_version_that_is_none_is_refused(small: Path) -> None:
    done = run(small, "--version", "../x")

    assert done.returncode == 2
    assert "is not X.Y.Z" in done.stderr
