"""A wheel with another hash than the lock does not get into an image."""

from pathlib import Path

import pytest

from scripts import images

pytestmark = pytest.mark.security


def requirements() -> str:
    """The locked package six, as the images export it."""
    exported = images.run([*images.UV, "export", "--frozen", "--no-header", "--no-annotate"])
    lines = exported.splitlines()
    (first,) = [number for number, line in enumerate(lines) if line.startswith("six==")]
    return "\n".join(lines[first : first + 3]) + "\n"


def test_the_wheel_of_the_lock_is_unpacked(tmp_path: Path) -> None:
    images.unpack(requirements(), tmp_path / "deps")

    assert (tmp_path / "deps/six.py").exists()


@pytest.mark.parametrize("change", ["other hash", "no hash"])
def test_a_wheel_that_the_lock_does_not_confirm_is_refused(change: str, tmp_path: Path) -> None:
    text = requirements()
    first, *hashes = text.splitlines()
    assert len(hashes) == 2
    swapped = [h.partition("sha256:")[0] + "sha256:" + "0" * 64 for h in hashes]
    other = "\n".join([first, f"{swapped[0]} \\", swapped[1]])

    with pytest.raises(SystemExit, match="hash"):
        images.unpack(other if change == "other hash" else first.strip(" \\"), tmp_path / "deps")

    assert not (tmp_path / "deps/six.py").exists()
