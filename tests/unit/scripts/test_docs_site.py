"""The documentation site: links lead to pages, the navigation is complete, versions in order."""

import base64
import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path
from typing import Any

import pytest
import zensical

from scripts import docs_offline, docs_site, docs_versions
from scripts.docs_offline import SiteError

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
    listed = docs_versions.versions(
        ["dev", "0.9.0", "0.10.0", "1.0.0-rc.1", "assets", "0.10.0-rc.1"]
    )

    assert [each["version"] for each in listed] == [
        "1.0.0-rc.1",
        "0.10.0",
        "0.10.0-rc.1",
        "0.9.0",
        "dev",
    ]
    assert [each["version"] for each in listed if each["aliases"]] == ["0.10.0"]
    assert "url=0.10.0/index.html" in docs_versions.redirect(listed)
    unreleased = docs_versions.versions(["dev", "0.1.0-rc.9", "0.1.0-rc.10"])
    assert [each["version"] for each in unreleased] == ["0.1.0-rc.10", "0.1.0-rc.9", "dev"]
    assert "url=0.1.0-rc.10/index.html" in docs_versions.redirect(unreleased)


@pytest.mark.parametrize(
    ("page", "script"),
    [("a.md", "assets/mermaid.js"), ("docs/deep/a.md", "../../assets/mermaid.js")],
)
def test_a_page_with_a_diagram_has_its_script(page: str, script: str) -> None:
    text = site({page: "# A\n\n```mermaid\ngraph LR\n```\n", "README.md": f"[a]({page})"})

    assert text[page].endswith(f'```\n\n<script src="{script}"></script>\n')
    assert "<script" not in text["README.md"]


def test_no_diagram_has_a_semicolon_because_it_ends_the_statement() -> None:
    # The rest of the line is then no statement, and the reader sees text in place of the diagram.
    pages = [Path("README.md"), Path("CONTRIBUTING.md"), *Path("docs").rglob("*.md")]
    diagrams = [
        (page, diagram)
        for page in pages
        for diagram in re.findall(
            r"^```mermaid$(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
        )
    ]

    assert diagrams
    assert [page for page, diagram in diagrams if ";" in diagram] == []


LOADS = [
    '<script src="https://cdn.example/a.js"></script>',
    '<script src="//cdn.example/a.js"></script>',
    '<link rel="stylesheet" href="https://cdn.example/a.css">',
    '<link rel="preconnect" href="https://cdn.example">',
    '<link rel="shortcut icon" href="HTTPS://cdn.example/a.png">',
    "<img src=https://cdn.example/a.png>",
    '<img srcset="a.png, https://cdn.example/b.png 2x">',
    '<iframe src="https://cdn.example/"></iframe>',
    '<style>@font-face { src: url("https://cdn.example/a.woff2") }</style>',
    '<style>@import "https://cdn.example/a.css";</style>',
    '<p style="background: url(//cdn.example/a.png)">',
]
STAYS = [
    '<script src="../assets/a.js"></script><script>"https://cdn.example"</script>',
    '<a href="https://cdn.example/">a</a> url(https://cdn.example/)',
    '<link rel="canonical" href="https://cdn.example/">',
    '<link rel="stylesheet" href="a.css?v=//1">',
    '<img src="data:image/png;base64,//8=">',
    "<style>p { background: url(data:image/svg+xml;charset=utf-8,a) }</style>url(//cdn.example/)",
]


@pytest.mark.parametrize("html", LOADS)
def test_what_a_page_loads_from_another_host_is_found(tmp_path: Path, html: str) -> None:
    (tmp_path / "a.html").write_text(f"<!doctype html><p>text</p>{html}", encoding="utf-8")

    (found,) = docs_offline.loaded_from_elsewhere(tmp_path)

    assert found.startswith("a.html: ")
    assert "cdn.example" in found


@pytest.mark.parametrize("html", STAYS)
def test_links_and_files_of_the_site_load_nothing_from_another_host(
    tmp_path: Path, html: str
) -> None:
    (tmp_path / "a.html").write_text(f"<!doctype html>{html}", encoding="utf-8")

    assert list(docs_offline.loaded_from_elsewhere(tmp_path)) == []


def test_a_style_file_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "a.css").write_text("@import 'https://cdn.example/b.css'", encoding="utf-8")

    assert list(docs_offline.loaded_from_elsewhere(tmp_path)) == [
        "a.css: https://cdn.example/b.css"
    ]


def run(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(root / "scripts/docs_site.py"), *arguments]
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A repository with two pages."""
    (tmp_path / "scripts/release").mkdir(parents=True)
    for script in (
        *("docs_site.py", "docs_offline.py", "docs_versions.py"),
        *("release/errors.py", "release/version.py"),
    ):
        shutil.copy(f"scripts/{script}", tmp_path / "scripts" / script)
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("# Start\n\n[a](docs/a.md#part)\n", encoding="utf-8")
    (tmp_path / "docs/a.md").write_text("# A\n\n## Part\n", encoding="utf-8")
    (tmp_path / "zensical.toml").write_text(
        '[project]\nsite_name = "Small"\ndocs_dir = "build/docs"\nsite_dir = "build/page"\n'
        "use_directory_urls = false\n[project.theme]\nfont = false\n",
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


@pytest.fixture
def in_small(small: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a diagram and our theme, that :func:`docs_site.build` builds."""
    ours = Path("zensical.toml").read_text(encoding="utf-8")
    (small / "zensical.toml").write_text(
        re.sub(r"^nav = \[.*?^\]$", "", ours, flags=re.DOTALL | re.MULTILINE), encoding="utf-8"
    )
    (small / "docs/a.md").write_text(
        "# A\n\n## Part\n\n```mermaid\ngraph LR\n  a --> b\n```\n", encoding="utf-8"
    )
    for name, value in (("ROOT", "."), ("COPY", "build/docs"), ("BUILT", "build/page")):
        monkeypatch.setattr(docs_site, name, small / value)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")
    return small


def test_a_built_site_with_our_theme_loads_nothing_from_another_host(
    in_small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docs_offline, "mermaid", lambda: b"mermaid = {}")

    docs_site.build("dev", in_small / "build/site")

    built = in_small / "build/site/dev"
    page = (built / "docs/a.html").read_text(encoding="utf-8")
    assert '<script src="../assets/mermaid.js"></script>' in page
    assert (built / "assets/mermaid.js").read_bytes() == b"mermaid = {}"
    assert list(docs_offline.loaded_from_elsewhere(built)) == []


def test_a_page_that_loads_from_another_host_ends_the_build(small: Path) -> None:
    with (small / "docs/a.md").open("a", encoding="utf-8") as file:
        file.write("\n![badge](https://cdn.example/badge.svg)\n")

    done = run(small)

    assert done.returncode == 1
    assert "docs/a.html: https://cdn.example/badge.svg" in done.stderr
    assert not (small / "build/site/dev").exists()


def test_a_check_needs_no_npm_and_leaves_the_site_as_it_was(
    in_small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none() -> bytes:
        raise SiteError("npm is missing")

    monkeypatch.setattr(docs_offline, "mermaid", none)

    assert docs_site.render(with_mermaid=False) == 2
    with pytest.raises(SiteError, match="npm is missing"):
        docs_site.render(with_mermaid=True)

    done = run(in_small, "--check")
    assert (done.returncode, done.stdout) == (0, "docs: 2 pages are checked\n")
    assert not (in_small / "build/site").exists()


def test_mermaid_has_the_major_version_of_the_theme() -> None:
    (folder,) = map(Path, zensical.__path__)
    (bundle,) = folder.glob("templates/assets/javascripts/bundle.*.min.js")
    (major,) = re.findall(r"mermaid@(\d+)/", bundle.read_text(encoding="utf-8"))

    assert docs_offline.MERMAID.startswith(f"mermaid@{major}.")


def fake_npm(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """The only program on PATH; it gets the folder of the package as ``$6``."""
    program = folder / "npm"
    program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("echo E404 no such package >&2; exit 1", "E404 no such package"),
        ("exit 0", "check the registry"),
        ('echo other > "$6/mermaid.tgz"', r"has the hash sha512-.*, not sha512-4113TdX"),
    ],
    ids=["npm fails", "no package", "another package"],
)
def test_without_the_script_of_the_hash_there_is_no_site(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, problem: str
) -> None:
    fake_npm(tmp_path, monkeypatch, script)

    with pytest.raises(SiteError, match=problem):
        docs_offline.mermaid()


def test_a_missing_npm_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(SiteError, match="npm is not on PATH"):
        docs_offline.mermaid()


def test_the_script_follows_its_license(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "mermaid.tgz"
    with tarfile.open(package, "w:gz") as files:
        for name, text in ((docs_offline.LICENSE, b"terms"), (docs_offline.SCRIPT, b"script")):
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            files.addfile(entry, io.BytesIO(text))
    digest = base64.b64encode(hashlib.sha512(package.read_bytes()).digest()).decode()
    monkeypatch.setattr(docs_offline, "MERMAID_SHA512", digest)
    fake_npm(tmp_path, monkeypatch, f'/bin/cp {package} "$6"')

    assert docs_offline.mermaid() == b"/*! " + docs_offline.MERMAID.encode() + b"\nterms*/\nscript"


def test_a_version_that_is_none_is_refused(small: Path) -> None:
    done = run(small, "--version", "../x")

    assert done.returncode == 2
    assert "is not X.Y.Z" in done.stderr
