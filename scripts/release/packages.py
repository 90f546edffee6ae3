"""Wheels and source distributions, their SBOMs, and the check of their metadata."""

import hashlib
import json
from pathlib import Path

from scripts.release.checkout import run, uv
from scripts.release.oci import Json
from scripts.release.project import PACKAGES
from scripts.sbom import FORMAT


def build(tree: Path, target: Path, epoch: int) -> None:
    """Build all packages of a tree; the build backend has the hash of the lock."""
    constraints = tree / "build/build-constraints.txt"
    constraints.parent.mkdir(exist_ok=True)
    locked = run(
        [*uv(), "export", "--frozen", "--quiet", "--only-group", "release", "--no-header",
         "--no-annotate"], tree,
    )  # fmt: skip
    constraints.write_text(locked, encoding="utf-8")
    target.mkdir(parents=True, exist_ok=True)
    for name, folder in PACKAGES.items():
        print(f"release: build {name}", flush=True)
        run(
            [*uv(), "build", "--quiet", "--out-dir", str(target), "--build-constraints",
             str(constraints), "--require-build-hashes", "--no-create-gitignore",
             str(tree / folder)],
            tree, {"SOURCE_DATE_EPOCH": str(epoch)},
        )  # fmt: skip


def check(root: Path, files: list[Path]) -> None:
    """Check the metadata as PyPI does; warnings are errors."""
    only = ["--frozen", "--quiet", "--isolated", "--only-group", "release"]
    run([*uv(), "run", *only, "twine", "check", "--strict", *map(str, files)], root)


def wheel(target: Path, name: str) -> Path:
    """The wheel of a package."""
    (found,) = target.glob(f"{name.replace('-', '_')}-*.whl")
    return found


def sbom(exported: Json, file: Path) -> Json:
    """The SBOM of a wheel, from uv's export of its package: without time and random number."""
    metadata = {key: value for key, value in exported["metadata"].items() if key != "timestamp"}
    content = hashlib.sha256(file.read_bytes()).hexdigest()
    component = {key: v for key, v in metadata["component"].items() if key != "properties"}
    metadata["component"] = component | {
        "purl": f"pkg:pypi/{component['name']}@{component['version']}",
        "hashes": [{"alg": "SHA-256", "content": content}],
    }
    rest = {key: value for key, value in exported.items() if key != "serialNumber"}
    return rest | {"metadata": metadata}


def write_sboms(tree: Path, wheels: Path, target: Path) -> None:
    """Write an SBOM per wheel: what the lock has for all of its extras."""
    target.mkdir(parents=True, exist_ok=True)
    for name in PACKAGES:
        exported: Json = json.loads(
            run(
                [*uv(), "export", "--frozen", "--quiet", "--no-dev", "--all-extras", "--format",
                 FORMAT, "--package", name], tree,
            )
        )  # fmt: skip
        file = wheel(wheels, name)
        document = json.dumps(sbom(exported, file), indent=2) + "\n"
        (target / f"{file.stem}.cdx.json").write_text(document, encoding="utf-8")
