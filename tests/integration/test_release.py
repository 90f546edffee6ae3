"""A release, built twice from a commit: equal hashes, and packages that install."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

from scripts.release import checkout, contents, project
from scripts.release.version import Version

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
VERSION = Version.parse("9.8.7-rc.1")
PARTS = ("packages", "chart", "notes")
UV = [sys.executable, str(ROOT / "scripts/uv.py")]


def git(at: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    subprocess.run(["git", *identity, *arguments], cwd=at, check=True, capture_output=True)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with one commit: the files of this checkout as they are now."""
    at = tmp_path_factory.mktemp("clone")
    listed = checkout.git(ROOT, "ls-files", "--cached", "--others", "--exclude-standard", "-z")
    for name in filter(None, listed.split("\0")):
        source, target = ROOT / name, at / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    git(at, "init", "--quiet")
    git(at, "add", "--all")
    git(at, "commit", "--quiet", "--message=release: a commit")
    return at


def release(clone: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "scripts.release", *arguments]
    environment = os.environ | {"PYTHONPATH": "tests"}
    # Without a key, and without the identity of a workflow that may run this test.
    for name in ("COSIGN_KEY", "SIGSTORE_ID_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_URL"):
        environment.pop(name, None)
    return subprocess.run(
        command, cwd=clone, env=environment, capture_output=True, text=True, timeout=500
    )


@pytest.fixture(scope="module")
def dist(clone: Path) -> Path:
    done = release(clone, "build", str(VERSION), "--only", *PARTS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "release: skipped, not chosen: images" in done.stdout
    assert "release: not signed: " in done.stdout
    return clone / "dist"


def test_a_second_build_in_another_folder_has_equal_hashes(
    clone: Path, dist: Path, tmp_path: Path
) -> None:
    done = release(
        clone, "build", str(VERSION), "--only", *PARTS, "--dist", str(tmp_path / "another/dist")
    )

    assert done.returncode == 0, done.stdout + done.stderr
    first = contents.hashes(dist)
    assert contents.differences(first, contents.hashes(tmp_path / "another/dist")) == []
    assert len(first) > len(contents.python_files(VERSION))


def test_the_checkout_is_not_changed(clone: Path, dist: Path) -> None:
    assert checkout.state(clone).changed == ()


def test_a_changed_checkout_is_refused_before_anything_is_built(clone: Path, dist: Path) -> None:
    before = contents.hashes(dist)
    (clone / "new.txt").write_text("new")
    try:
        done = release(clone, "build", str(VERSION), "--only", *PARTS)
    finally:
        (clone / "new.txt").unlink()

    assert done.returncode == 1
    assert "release: the checkout differs from its commit: new.txt\n  hint: " in done.stderr
    assert contents.hashes(dist) == before


def test_a_release_has_its_files_and_their_hashes(dist: Path) -> None:
    names = set(contents.hashes(dist))

    assert names >= {
        *contents.python_files(VERSION), contents.chart_file(VERSION), contents.CRDS, contents.LIST,
        contents.NOTES, contents.MANIFEST, contents.source_file(VERSION),
    }  # fmt: skip
    check = ["sha256sum", "--check", "--strict", "--quiet", contents.SUMS]
    subprocess.run(check, cwd=dist, check=True)
    manifest = json.loads((dist / contents.MANIFEST).read_text())
    assert set(manifest["files"]) == names - {contents.MANIFEST}
    assert all("missing" in arch for name in manifest["images"].values() for arch in name.values())


def metadata(dist: Path, name: str) -> Message:
    stem = f"{name.replace('-', '_')}-{VERSION.python}"
    with zipfile.ZipFile(dist / f"{stem}-py3-none-any.whl") as wheel:
        assert f"{stem}.dist-info/licenses/LICENSE" in wheel.namelist()
        assert any(file.endswith("/py.typed") for file in wheel.namelist())
        text = wheel.read(f"{stem}.dist-info/METADATA").decode()
    return Parser().parsestr(text)


@pytest.mark.parametrize("name", project.PACKAGES)
def test_a_package_describes_itself(dist: Path, name: str) -> None:
    found = metadata(dist, name)

    assert (found["Name"], found["Version"]) == (name, VERSION.python)
    assert found["License-Expression"] == "Apache-2.0"
    assert found["Description-Content-Type"] == "text/markdown"
    assert str(found.get_payload()).lstrip().startswith(f"# {name}\n")
    assert len(found["Keywords"].split(",")) >= 3
    urls = dict(url.split(", ") for url in found.get_all("Project-URL", []))
    assert set(urls) == {"Homepage", "Documentation", "Source", "Issues", "Changelog"}
    assert all(url.startswith(project.load().repository) for url in urls.values())
    classifiers = found.get_all("Classifier", [])
    assert "Typing :: Typed" in classifiers
    assert sum(text.startswith("Programming Language :: Python :: 3.") for text in classifiers) >= 4
    own = [text for text in found.get_all("Requires-Dist", []) if text.startswith("nanogrid")]
    others = [text for text in own if "extra ==" not in text]
    assert len(others) == (name != "nanogrid")
    assert all(text.endswith(f"=={VERSION.python}") for text in others)


def test_a_source_distribution_has_our_files_only(dist: Path) -> None:
    for name in contents.python_files(VERSION):
        if name.endswith(".tar.gz"):
            with tarfile.open(dist / name) as archive:
                folders = {member.name.split("/")[1] for member in archive}
            expected = {"src", "LICENSE", "README.md", "pyproject.toml", "PKG-INFO"}
            assert folders - {".gitignore"} == expected, name


def test_an_sbom_of_a_wheel_describes_the_wheel(dist: Path) -> None:
    wheels = [name for name in contents.python_files(VERSION) if name.endswith(".whl")]
    for name in wheels:
        document = json.loads((dist / f"{Path(name).stem}.cdx.json").read_text())
        hashed = hashlib.sha256((dist / name).read_bytes()).hexdigest()
        assert document["metadata"]["component"]["hashes"][0]["content"] == hashed
        assert document["components"], name


def test_the_client_installs_into_an_empty_environment_and_runs(dist: Path, tmp_path: Path) -> None:
    home = tmp_path / "venv"
    subprocess.run([*UV, "venv", "--quiet", str(home)], check=True, timeout=120)
    wanted = f"nanogrid[cli]=={VERSION.python}"
    subprocess.run(
        [*UV, "pip", "install", "--quiet", "--python", str(home / "bin/python"), "--find-links",
         str(dist), wanted],
        check=True, timeout=400,
    )  # fmt: skip

    for program in ("nanogrid", "kubectl-ej"):
        done = subprocess.run(
            [str(home / "bin" / program), "--help"], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        assert "Run code in sandboxes on Kubernetes" in done.stdout
    code = "import nanogrid, nanogrid.client; print(nanogrid.__file__)"
    done = subprocess.run(
        [str(home / "bin/python"), "-c", code], capture_output=True, text=True, timeout=60,
        cwd=tmp_path,
    )  # fmt: skip
    assert str(home) in done.stdout, done.stderr
