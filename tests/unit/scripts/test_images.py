"""The base of the images has a digest, in every place that names it."""

import os
import re
import sys
from pathlib import Path

import pytest

from cluster import versions
from scripts import images

pytestmark = pytest.mark.security

DIGEST = "sha256:" + "a" * 64
DOCKERFILES = [
    *(Path(folder, "Dockerfile") for folder in ("operator", "executor-image", "gateway")),
    *Path("executor-image/runtimes").glob("*/Dockerfile"),
    *Path("tests/devservices").glob("*/Dockerfile"),
]


def test_there_is_a_dockerfile_for_each_image() -> None:
    assert len(DOCKERFILES) == len(images.IMAGES)


@pytest.mark.parametrize("file", DOCKERFILES, ids=str)
def test_a_dockerfile_has_the_same_base_by_digest(file: Path) -> None:
    text = file.read_text(encoding="utf-8")

    assert re.findall(r"^ARG BASE_IMAGE=(.*)$", text, re.M) == [versions.PUBLISHED_BASE_IMAGE]
    bases = {line.split()[1] for line in text.splitlines() if line.startswith("FROM ")}
    assert bases <= {"${BASE_IMAGE}", "${EXECUTOR_IMAGE}"}


def test_both_bases_have_the_python_of_the_wheels() -> None:
    assert versions.PUBLISHED_BASE_IMAGE.startswith(
        f"python:{versions.PYTHON}-slim-{versions.BASE_SUITE}@"
    )


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o027, 0o077])
def test_a_context_has_the_same_modes_with_each_umask(
    umask: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "BUILD", tmp_path / "build")
    old = os.umask(umask)
    try:
        source = tmp_path / "src/package"
        source.mkdir(parents=True)
        (source / "code.py").write_text("1")
        (source / "program").write_text("2")
        (source / "program").chmod(0o777 & ~umask)
        parts = {"Dockerfile": source / "code.py", "src": tmp_path / "src"}
        context = images.prepare_context("any", parts)
    finally:
        os.umask(old)

    found = {
        path.relative_to(context).as_posix(): path.stat().st_mode & 0o777
        for path in (context, *context.rglob("*"))
    }
    programs = (".", "src", "src/package", "src/package/program")
    files = ("Dockerfile", "src/package/code.py")
    assert found == dict.fromkeys(programs, 0o755) | dict.fromkeys(files, 0o644)
    assert source.stat().st_mode & 0o777 == 0o777 & ~umask, "the checkout is not changed"
    assert (source / "code.py").stat().st_mode & 0o777 == 0o666 & ~umask


def test_the_digest_of_a_published_base_is_in_its_name() -> None:
    assert images.base_digest(f"registry.example:5000/python:3.13@{DIGEST}") == DIGEST
    assert versions.PUBLISHED_BASE_IMAGE.endswith(images.base_digest(versions.PUBLISHED_BASE_IMAGE))


@pytest.mark.parametrize(
    "base",
    [
        "python:3.13-slim-trixie",
        "python",
        f"python@{DIGEST[:-1]}",
        f"python@{DIGEST}0",
        "python@",
    ],
)
def test_a_base_without_a_digest_is_refused(base: str) -> None:
    with pytest.raises(SystemExit, match="name the base image by digest"):
        images.base_digest(base)


def test_every_image_of_ours_has_packages_in_its_sbom() -> None:
    ours = {name for name in images.IMAGES if not name.startswith("dev-")}

    assert set(images.OWN) == ours


def test_the_size_of_an_image_is_that_of_its_compressed_layers() -> None:
    def written(content: str) -> int:
        return images.packed_bytes([sys.executable, "-c", f"import os; os.write(1, {content})"])

    assert written("bytes(60_000)") < 1000
    assert written("os.urandom(60_000)") >= 60_000
    with pytest.raises(SystemExit, match="failed with 3"):
        images.packed_bytes([sys.executable, "-c", "raise SystemExit(3)"])


def test_an_image_that_is_too_large_is_refused() -> None:
    most = images.MOST_PACKED["executor"]
    images.refuse_large("nanogrid-executor:x", most - 1, most)
    with pytest.raises(SystemExit, match="has 100 MB as a node downloads it, at most 100"):
        images.refuse_large("nanogrid-executor:x", most, most)
