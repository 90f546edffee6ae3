"""Build NanoGrid's container images and, with --load, load them into the cluster.

The build context of each image is prepared below ``build/``: ``deps/`` contains the unpacked wheels
of the lock file, whose hashes are verified, and ``src/`` our packages. A build therefore needs the
network only for the base image, which has a digest. It works with Docker's legacy builder and with
BuildKit. The tag of an image is the hash of its context and base, so an unchanged image is not
built again. The names are written to ``build/images.json``, an SBOM per image to ``build/sbom/``.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the scripts are a package without an installation
sys.path.insert(1, str(ROOT / "tests"))
from cluster.progress import reporting  # noqa: E402
from scripts import sbom  # noqa: E402
from scripts.commands import BUILD, ENVIRONMENT, UV, digest, run  # noqa: E402
from scripts.release import tars  # noqa: E402
from scripts.wheels import dependencies, weed  # noqa: E402

BOOT_TESTS = {
    "executor": ["python3", "-m", "nanogrid_executor", "check", "--compiled"],
    "operator": ["python3", "-m", "nanogrid_operator", "--check"],
    "gateway": ["python3", "-m", "nanogrid_gateway.server", "--check"],
    # Like user code: without the environment variables of the image.
    "python-data": ["env", "-i", "HOME=/tmp", "python3", "/opt/nanogrid/runtime-selftest.py"],
}
# Bytes that a node downloads at most: a pod on a new node waits for them. The default runtime only;
# one for data work is as large as its packages.
MOST_PACKED = {"executor": 100_000_000}
PACK_LEVEL = 6  # of gzip, as registries get layers
CHUNK_BYTES = 1 << 20
RUNTIMES = ("python-data",)  # built on the executor image
OWN_BASE = "nanogrid-base:"  # of tests/cluster, from Debian's packages
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
# The workspace packages of an image, by the names in the lock: ours, and those that only list
# dependencies.
OWN = {
    "operator": ("nanogrid", "nanogrid-operator"),
    "executor": ("nanogrid", "nanogrid-executor"),
    "gateway": ("nanogrid", "nanogrid-gateway"),
    "python-data": ("nanogrid", "nanogrid-executor", "nanogrid-runtime-python-data"),
}
SYSTEM_PACKAGES = ["-W", "-f", "${Package} ${Version} ${Architecture}\\n"]  # of dpkg-query
CODE_ONLY = ("__pycache__", "*.dist-info", "bin")
# User code may read the version or license of a package, so a runtime keeps the metadata.
RUNTIME_ONLY = ("__pycache__", "tests", "bin")


def sources(*folders: Path) -> list[Path]:
    """All files below the folders that belong in an image."""
    return [
        p for f in folders for p in f.rglob("*") if p.is_file() and "__pycache__" not in p.parts
    ]


def prepare_context(
    name: str, parts: dict[str, Path], without: tuple[str, ...] = CODE_ONLY
) -> Path:
    """Create a build context from files and folders; it uses hard links for speed.

    Its modes do not depend on the umask of a checkout: the user of an image reads all files, and
    layers are the same everywhere.
    """
    context = BUILD / "context" / name
    shutil.rmtree(context, ignore_errors=True)
    context.mkdir(parents=True)
    skip = shutil.ignore_patterns(*without)
    for target, source in parts.items():
        if source.is_dir():
            shutil.copytree(source, context / target, ignore=skip, copy_function=_link)
        else:
            _link(str(source), str(context / target))
    for folder in (context, *filter(Path.is_dir, context.rglob("*"))):
        folder.chmod(tars.EXECUTABLE)
    return context


def _link(source: str, target: str) -> str:
    file = Path(source).resolve()
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    mode = file.stat().st_mode & 0o777
    wanted = tars.EXECUTABLE if mode & 0o100 else tars.PLAIN
    if mode == wanted:
        Path(target).hardlink_to(file)
    else:
        shutil.copyfile(file, target)
        Path(target).chmod(wanted)
    return target


def python_image(name: str, home: str) -> tuple[Path, str]:
    """Context and content hash of an image with the SDK and one other package of ours."""
    package = f"nanogrid_{name}"
    folders = {
        "src/nanogrid": ROOT / "sdk/src/nanogrid",
        f"src/{package}": ROOT / home / "src" / package,
    }
    dockerfile = ROOT / home / "Dockerfile"
    deps = dependencies(f"nanogrid-{name}")
    context = prepare_context(name, {"Dockerfile": dockerfile, "deps": deps, **folders})
    return context, digest([dockerfile, *sources(*folders.values())], deps.name)


def python_data() -> tuple[Path, str]:
    """The context of the runtime image for data work: its packages and their setup files."""
    home = ROOT / "executor-image/runtimes/python-data"
    files = {"Dockerfile": home / "Dockerfile", "image": home / "image"}
    deps = dependencies("nanogrid-runtime-python-data")
    context = prepare_context("python-data", {**files, "deps": deps}, RUNTIME_ONLY)
    content = digest([files["Dockerfile"], *sources(files["image"])], deps.name, *RUNTIME_ONLY)
    return context, content


def dev_redis() -> tuple[Path, str]:
    """Redis for demo and tests."""
    file = ROOT / "tests/devservices/redis/Dockerfile"
    return prepare_context("dev-redis", {"Dockerfile": file}), digest([file])


def dev_s3() -> tuple[Path, str]:
    """SeaweedFS for demo and tests."""
    file = ROOT / "tests/devservices/s3/Dockerfile"
    binary = weed()
    context = prepare_context("dev-s3", {"Dockerfile": file, "weed": binary})
    with binary.open("rb") as content:
        return context, digest([file], hashlib.file_digest(content, "sha256").hexdigest())


IMAGES: dict[str, Callable[[], tuple[Path, str]]] = {
    "operator": partial(python_image, "operator", "operator"),
    "executor": partial(python_image, "executor", "executor-image"),
    "gateway": partial(python_image, "gateway", "gateway"),
    "python-data": python_data,
    "dev-redis": dev_redis,
    "dev-s3": dev_s3,
}


def base_digest(base: str) -> str:
    """The digest of a base image, or the ID of the one that tests/cluster builds."""
    if DIGEST.fullmatch(found := base.partition("@")[2]):
        return found
    if not base.startswith(OWN_BASE):
        sys.exit(f"images: name the base image by digest, IMAGE@sha256:…, not {base}")
    return run(["docker", "image", "inspect", "--format", "{{.Id}}", base]).strip()


def packed_bytes(command: list[str]) -> int:
    """The bytes of a command's output after gzip: what a registry has of an image."""
    packer = zlib.compressobj(PACK_LEVEL)
    size = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=ENVIRONMENT) as saved:
        assert saved.stdout is not None  # noqa: S101 it is a pipe
        while chunk := saved.stdout.read(CHUNK_BYTES):
            size += len(packer.compress(chunk))
    if saved.returncode != 0:
        sys.exit(f"images: `{' '.join(command)}` failed with {saved.returncode}")
    return size + len(packer.flush())


def refuse_large(image: str, size: int, most: int) -> None:
    """Exit if an image is too large for a node that has none of it."""
    if size >= most:
        sys.exit(
            f"images: {image} has {size / 1e6:.0f} MB as a node downloads it, at most "
            f"{most / 1e6:.0f} are allowed: `docker history {image}` shows its layers"
        )


@cache
def build(name: str, base: str, fresh: bool = False) -> str:
    """Build an image and its base image if they do not exist, or if ``fresh``; returns the name."""
    arguments = {"BASE_IMAGE": base}
    if name in RUNTIMES:
        arguments["EXECUTOR_IMAGE"] = build("executor", base, fresh)
    started = time.monotonic()
    context, content = IMAGES[name]()
    identity = digest([], content, *arguments.values(), base_digest(base))
    image = f"nanogrid-{name}:{identity}"
    inspect = subprocess.run(
        ["docker", "image", "inspect", image], capture_output=True, check=False, env=ENVIRONMENT
    )
    if inspect.returncode == 0 and not fresh:
        print(f"images: {image} is up to date", flush=True)
        return image
    build_args = [
        arg for key, value in arguments.items() for arg in ("--build-arg", f"{key}={value}")
    ]
    cached = ["--no-cache"] if fresh else []
    run(["docker", "build", "--tag", image, *cached, *build_args, str(context)])
    if name in BOOT_TESTS:
        run(
            ["docker", "run", "--rm", "--read-only", "--network=none", "--cap-drop=ALL",
             "--tmpfs=/tmp", "--entrypoint", BOOT_TESTS[name][0], image, *BOOT_TESTS[name][1:]]
        )  # fmt: skip
    if name in MOST_PACKED:
        size = packed_bytes(["docker", "save", image])
        refuse_large(image, size, MOST_PACKED[name])
        print(f"images: {image} has {size / 1e6:.0f} MB as a node downloads it", flush=True)
    print(f"images: built {image} in {time.monotonic() - started:.1f} s", flush=True)
    return image


@cache
def lock_components() -> sbom.Json:
    """The whole lock file as CycloneDX."""
    everything = ["--all-packages", "--all-groups", "--all-extras"]
    exported = run([*UV, "export", "--frozen", "--quiet", "--format", sbom.FORMAT, *everything])
    found: sbom.Json = json.loads(exported)
    return found


def write_sbom(name: str, image: str, base: str) -> None:
    """Write the SBOM of an image, unless the file describes this image already."""
    file = BUILD / "sbom" / f"{name}.cdx.json"
    if file.exists() and json.loads(file.read_text())["metadata"]["component"]["bom-ref"] == image:
        return
    packages = [package for package in OWN.get(name, ()) if package != "nanogrid"]
    described = sbom.Image(
        name=image,
        base=base,
        base_digest=base_digest(base),
        own=OWN.get(name, ()),
        folders=tuple(dependencies(package) for package in packages),
        system=run(
            ["docker", "run", "--rm", "--network=none", "--cap-drop=ALL", "--entrypoint",
             "dpkg-query", image, *SYSTEM_PACKAGES]
        ),
    )  # fmt: skip
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(sbom.document(described, lock_components()), indent=2) + "\n")


def cluster(*command: str) -> str:
    """Run a command of tests/cluster and return its output."""
    return run([sys.executable, "-m", "cluster", *command], cwd=ROOT / "tests").strip()


def main() -> None:
    """Build the requested images."""
    parser = argparse.ArgumentParser(description="Build NanoGrid's images.")
    parser.add_argument("names", nargs="*", help="images to build (default: all)")
    parser.add_argument(
        "--load", action="store_true", help="load the images into the nodes of the cluster"
    )
    parser.add_argument("--base", help="base image with Python, by digest (default: the project's)")
    parser.add_argument(
        "--fresh", action="store_true", help="build without the engine's cache, also what exists"
    )
    options = parser.parse_args()
    os.umask(0o022)  # of the wheels that are unpacked
    with reporting("images: prepare the base image"):
        base = options.base or cluster("base-image").splitlines()[-1]
    built = {}
    for name in options.names or IMAGES:
        with reporting(f"images: build nanogrid-{name}"):
            built[name] = build(name, base, options.fresh)
    file = BUILD / "images.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(known | built, indent=2) + "\n")
    with reporting("images: write the SBOMs"):
        for name, image in built.items():
            write_sbom(name, image, base)
    if options.load:
        started = time.monotonic()
        with reporting("images: load into the cluster"):
            cluster("load", *built.values())
        print(f"images: loaded into the cluster in {time.monotonic() - started:.1f} s", flush=True)


if __name__ == "__main__":
    main()
