"""The base of the images has a digest, in every place that names it."""

import re
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
