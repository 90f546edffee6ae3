"""A wheel with another hash than the lock does not get into an image."""

from pathlib import Path

import pytest

from cluster.decisions import WHEELS
from scripts import wheels

pytestmark = pytest.mark.security

PLATFORM = WHEELS["linux/amd64"]


def requirements() -> str:
    """The locked package six, as the images export it."""
    return wheels.only("six", wheels.exported())


def test_the_wheel_of_the_lock_is_unpacked(tmp_path: Path) -> None:
    wheels.unpack(requirements(), tmp_path / "deps", PLATFORM)

    assert (tmp_path / "deps/six.py").exists()


def test_a_list_of_files_has_no_programs(tmp_path: Path) -> None:
    """Their first line is a path of this checkout, and images of two checkouts must be equal."""
    package = "charset-normalizer"
    wheels.unpack(wheels.only(package, wheels.exported()), tmp_path / "deps", PLATFORM)

    assert [*(tmp_path / "deps/bin").iterdir()], "the package has a program"
    (record,) = (tmp_path / "deps").glob("*.dist-info/RECORD")
    lines = record.read_text(encoding="utf-8").splitlines()
    assert "charset_normalizer/__init__.py" in {line.partition(",")[0] for line in lines}
    assert [line for line in lines if "bin/" in line] == []


@pytest.mark.parametrize("change", ["other hash", "no hash"])
def test_a_wheel_that_the_lock_does_not_confirm_is_refused(change: str, tmp_path: Path) -> None:
    text = requirements()
    first, *hashes = text.splitlines()
    assert len(hashes) == 2
    swapped = [h.partition("sha256:")[0] + "sha256:" + "0" * 64 for h in hashes]
    other = "\n".join([first, f"{swapped[0]} \\", swapped[1]])

    with pytest.raises(SystemExit, match="hash"):
        wheels.unpack(
            other if change == "other hash" else first.strip(" \\"), tmp_path / "deps", PLATFORM
        )

    assert not (tmp_path / "deps/six.py").exists()


def test_the_wheel_is_that_of_the_engine_and_not_of_this_machine(tmp_path: Path) -> None:
    text = wheels.only("yarl", wheels.exported())

    for engine, architecture in (("linux/amd64", "x86-64"), ("linux/arm64", "aarch64")):
        wheels.unpack(text, tmp_path / architecture, WHEELS[engine])

        libraries = [*(tmp_path / architecture).rglob("*.so")]
        assert libraries
        assert {machine_of(library) for library in libraries} == {architecture}


def machine_of(library: Path) -> str:
    """The architecture in the header of an ELF file."""
    header = library.read_bytes()[:20]
    assert header[:4] == b"\x7fELF"
    return {62: "x86-64", 183: "aarch64"}[int.from_bytes(header[18:20], "little")]
