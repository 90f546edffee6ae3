"""The SBOM lists what is in the image: exactly these packages, with the hash of their wheels."""

from pathlib import Path
from typing import Any

import pytest

from scripts import sbom

pytestmark = pytest.mark.security

BASE = "sha256:" + "b" * 64
FILES = "https://files.pythonhosted.org/packages"


def a_component(name: str, version: str, *files: str) -> dict[str, Any]:
    """A component of `uv export`; the hash of a file is its name."""
    return {
        "type": "library",
        "bom-ref": f"{name}-1@{version}",
        "name": name,
        "version": version,
        "purl": f"pkg:pypi/{name}@{version}",
        "externalReferences": [
            {
                "type": "distribution",
                "url": f"{FILES}/{file}",
                "hashes": [{"alg": "SHA-256", "content": file}],
            }
            for file in files
        ],
    }


PYPI = [
    a_component(
        "pyyaml",
        "6.0.3",
        "pyyaml-6.0.3.tar.gz",
        "pyyaml-6.0.3-cp311-cp311-macosx_11_0_arm64.whl",
        "pyyaml-6.0.3-cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        "pyyaml-6.0.3-cp312-cp312-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
    ),
    a_component("six", "1.17.0", "six-1.17.0.tar.gz", "six-1.17.0-py2.py3-none-any.whl"),
    a_component("colorama", "0.4.6", "colorama-0.4.6-py2.py3-none-any.whl"),
]
LOCK: dict[str, Any] = {
    "metadata": {"tools": [{"name": "uv"}]},
    "components": [
        {"type": "library", "bom-ref": "ours-1@0.1.0", "name": "nanogrid", "version": "0.1.0"},
        *PYPI,
    ],
    "dependencies": [
        {"ref": "ours-1@0.1.0", "dependsOn": ["pyyaml-1@6.0.3", "colorama-1@0.4.6"]},
        {"ref": "pyyaml-1@6.0.3"},
        {"ref": "colorama-1@0.4.6", "dependsOn": ["six-1@1.17.0"]},
    ],
}


def unpacked(folder: Path, name: str, *tags: str) -> None:
    """The metadata of an unpacked wheel."""
    info = folder / f"{name}.dist-info"
    info.mkdir(parents=True)
    lines = ["Wheel-Version: 1.0", *(f"Tag: {tag}" for tag in tags)]
    (info / "WHEEL").write_text("\n".join(lines) + "\n")


def an_image(*folders: Path) -> sbom.Image:
    return sbom.Image(
        name="nanogrid-operator:0123456789ab",
        base=f"registry.example:5000/python:3.11@{BASE}",
        base_digest=BASE,
        own=("nanogrid",),
        folders=folders,
        system="libc6 2.36-9+deb12u10 amd64\ntzdata 2025b-0+deb12u1 all\n",
    )


@pytest.fixture
def deps(tmp_path: Path) -> Path:
    manylinux = ("cp311-cp311-manylinux_2_17_x86_64", "cp311-cp311-manylinux2014_x86_64")
    unpacked(tmp_path, "PyYAML-6.0.3", *manylinux)
    return tmp_path


def test_packages_of_ours_of_the_lock_and_of_the_system_are_listed(deps: Path) -> None:
    found = sbom.document(an_image(deps), LOCK)

    assert [(c["name"], c["version"], c.get("purl")) for c in found["components"]] == [
        ("nanogrid", "0.1.0", "pkg:generic/nanogrid@0.1.0"),
        ("pyyaml", "6.0.3", "pkg:pypi/pyyaml@6.0.3"),
        ("registry.example:5000/python:3.11", BASE, None),
        (
            "libc6",
            "2.36-9+deb12u10",
            "pkg:deb/debian/libc6@2.36-9%2Bdeb12u10?arch=amd64",
        ),
        ("tzdata", "2025b-0+deb12u1", "pkg:deb/debian/tzdata@2025b-0%2Bdeb12u1?arch=all"),
    ]
    assert found["metadata"]["component"]["name"] == "nanogrid-operator"
    assert found["metadata"]["component"]["version"] == "0123456789ab"


def test_the_hash_is_that_of_the_wheel_in_the_image(deps: Path) -> None:
    yaml = sbom.document(an_image(deps), LOCK)["components"][1]

    wheel = "pyyaml-6.0.3-cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64.whl"
    assert yaml["hashes"] == [{"alg": "SHA-256", "content": wheel}]
    assert [f["url"] for f in yaml["externalReferences"]] == [f"{FILES}/{wheel}"]


def test_the_graph_names_only_packages_of_the_image(deps: Path) -> None:
    found = sbom.document(an_image(deps), LOCK)

    refs = {c["bom-ref"] for c in found["components"]}
    first, *graph = found["dependencies"]
    assert first == {"ref": "nanogrid-operator:0123456789ab", "dependsOn": [*_in_order(found)]}
    assert graph == [
        {"ref": "ours-1@0.1.0", "dependsOn": ["pyyaml-1@6.0.3"]},
        {"ref": "pyyaml-1@6.0.3", "dependsOn": []},
    ]
    assert len(refs) == len(found["components"]), "each reference is unique"


def test_a_package_in_two_folders_is_listed_once(deps: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    unpacked(other, "PyYAML-6.0.3", "cp311-cp311-manylinux2014_x86_64")
    unpacked(other, "six-1.17.0", "py2-none-any", "py3-none-any")

    found = sbom.document(an_image(deps, other), LOCK)

    names = [c["name"] for c in found["components"]]
    assert sorted(names[1:3]) == ["pyyaml", "six"]
    assert names.count("pyyaml") == 1


@pytest.mark.parametrize(
    ("name", "tag", "error"),
    [
        ("requests-2.0", "py3-none-any", "requests 2.0, which is not in uv.lock"),
        ("six-1.16.0", "py3-none-any", "six 1.16.0, which is not in uv.lock"),
        ("six-1.17.0", "cp311-cp311-win_amd64", "0 wheels of six 1.17.0"),
    ],
)
def test_a_package_that_is_not_locked_is_an_error(
    deps: Path, name: str, tag: str, error: str
) -> None:
    unpacked(deps, name, tag)

    with pytest.raises(SystemExit, match=error):
        sbom.document(an_image(deps), LOCK)


def _in_order(found: dict[str, Any]) -> list[str]:
    return [c["bom-ref"] for c in found["components"]]
