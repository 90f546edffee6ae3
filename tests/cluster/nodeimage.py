"""The node image: Debian, kind's files and our own builds."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster import gobuild, versions
from cluster.cache import key_of
from cluster.componentimages import component_images
from cluster.engine import Engine
from cluster.machine import CAP_SYS_RESOURCE, capability_missing
from cluster.osroot import root_tar
from cluster.paths import SOURCE, Paths
from cluster.steps import Log, step

OS_REPOSITORY = "nanogrid-node-os"
BASE_REPOSITORY = "nanogrid-node-base"
REPOSITORY = "nanogrid-node"
BUILDER = "nanogrid-node-builder"

ENTRYPOINT = 'ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]'
# As in kind's own image build; the kubelet does not garbage-collect pinned images.
IMPORT = [
    *("ctr", "--namespace=k8s.io", "images", "import"),
    *("--label=io.cri-containerd.pinned=pinned", "--no-unpack", "--all-platforms"),
    *("--digests", "-"),
]
PROGRAMS = (gobuild.KUBERNETES, gobuild.ETCD, gobuild.COREDNS, gobuild.PAUSE)

# containerd needs a moment; its socket exists before it answers, so this waits for both.
START_CONTAINERD = """
nohup containerd >/var/log/containerd-import.log 2>&1 &
for attempt in $(seq 60); do
    [ -S /run/containerd/containerd.sock ] && ctr version >/dev/null 2>&1 && exit 0
    sleep 0.5
done
cat /var/log/containerd-import.log
exit 1
"""
STOP_CONTAINERD = """
pkill -x containerd
for attempt in $(seq 60); do
    pgrep -x containerd >/dev/null || break
    sleep 0.2
done
rm -f /var/log/containerd-import.log
"""


def node_root() -> Path:
    """The tar with the root file system of a node."""
    return root_tar("node-os", versions.NODE_SUITE, versions.NODE_PACKAGES, None)


def node_image(here: Paths, engine: Engine) -> str:
    """The name of the node image in this engine; creates the image if it is missing."""
    no_resource = capability_missing(CAP_SYS_RESOURCE)
    built = {program: gobuild.build(program) for program in PROGRAMS}
    tar = node_root()
    key = key_of(
        tar.parent.name,
        versions.KIND,
        *(program.key for program in PROGRAMS),
        str(no_resource),
        SOURCE / "node",
        Path(__file__),
        SOURCE / "componentimages.py",
    )
    image = f"{REPOSITORY}:{key}"
    if engine.has_image(image):
        return image
    with step("node-image", f"build the node image {image}") as log:
        # The name is a hash of its contents, so that later node images share this layer.
        os_image = f"{OS_REPOSITORY}:{key_of(tar.parent.name)}"
        base = f"{BASE_REPOSITORY}:{key}"
        if not engine.has_image(os_image):
            engine.import_tar(log, tar, os_image, [])
        with scratch_directory(here) as context:
            fill_context(here, context, built[gobuild.KUBERNETES], no_resource)
            argument = f"OS_IMAGE={os_image}"
            command = ["docker", "build", "--build-arg", argument, "-t", base, str(context)]
            log.run(command, timeout=600, env=engine.env)
            binaries = {
                file.name: file for directory in built.values() for file in directory.iterdir()
            }
            archive = component_images(engine, log, base, binaries, context)
            load_and_commit(engine, log, base, archive, image)
    return image


@contextmanager
def scratch_directory(here: Paths) -> Iterator[Path]:
    """A directory for the build, always the same, so that it replaces that of a killed run."""
    path = here.artifacts / ".draft-node-image"
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def fill_context(here: Paths, context: Path, kubernetes: Path, no_resource: bool) -> None:
    """Fills the build context of the Dockerfile: kind's files, ours, and the node's commands."""
    root = context / "root"
    kind_files = gobuild.kind_sources(here) / "images" / "base" / "files"
    shutil.copytree(kind_files, root)
    shutil.copy(SOURCE / "node" / "Dockerfile", context)
    targets = {
        "prepare.sh": "kind/prepare.sh",
        "configure-cni": "usr/local/sbin/configure-cni",
        "keep-routes": "usr/local/sbin/keep-routes",
        "nanogrid-routes.service": "etc/systemd/system/nanogrid-routes.service",
    }
    for name, target in targets.items():
        (root / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(SOURCE / "node" / name, root / target)
    (root / "usr/bin").mkdir(parents=True)
    for name in ("kubelet", "kubeadm", "kubectl"):
        shutil.copy(kubernetes / name, root / "usr/bin" / name)
    (root / "kind/version").write_text(versions.KUBERNETES)
    # Go's module cache has no execute bits, and those of the checkout are not reliable.
    for path in root.rglob("*"):
        executable = path.is_dir() or path.parent.name in ("bin", "sbin")
        path.chmod(0o755 if executable else 0o644)
    if no_resource:
        # Without the right to lower oom scores, every pod sandbox would die at its start.
        config = root / "etc/containerd/config.toml"
        text = config.read_text()
        wanted = text.replace("restrict_oom_score_adj = false", "restrict_oom_score_adj = true")
        config.write_text(wanted)


def load_and_commit(engine: Engine, log: Log, base: str, archive: Path, image: str) -> None:
    """Imports the component images into the node's containerd, as kind's own build does."""

    def docker(*args: str) -> None:
        log.run(["docker", *args], timeout=300, env=engine.env)

    docker("rm", "--force", BUILDER)
    docker(
        "run",
        "--detach",
        "--name",
        BUILDER,
        "--entrypoint",
        "sleep",
        "--security-opt",
        "seccomp=unconfined",
        base,
        "3600",
    )
    try:
        docker("exec", BUILDER, "sh", "-c", START_CONTAINERD)
        with archive.open("rb") as file:
            command = ["docker", "exec", "--interactive", BUILDER, *IMPORT]
            log.run(command, timeout=300, env=engine.env, stdin=file)
        docker("exec", BUILDER, "sh", "-c", STOP_CONTAINERD)
        docker("commit", "--change", ENTRYPOINT, BUILDER, image)
    finally:
        docker("rm", "--force", BUILDER)
