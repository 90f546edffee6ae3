"""Chooses one of the three ways to a cluster on this machine."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass

from cluster import dockerd, machine, versions
from cluster.engine import Engine
from cluster.kubectl import Kubectl, users_kubeconfig
from cluster.paths import Paths
from cluster.progress import say
from cluster.steps import ClusterError, UsageError, step

PULL_SECONDS = 300
PULL_CHECK_SECONDS = 20

NO_WAY = """no cluster can be created here. Do one of these:
  1. set KUBECONFIG to a cluster that you may use for tests;
  2. start a Docker engine that can pull images (`docker info` must work for you);
  3. run as root on Debian; then everything is built from package registries."""


@dataclass(frozen=True)
class Chosen:
    """How the cluster was created; stored with its kubeconfig."""

    way: str
    docker_host: str | None
    ours: bool

    @property
    def engine(self) -> Engine:
        """The engine in which the cluster's nodes run."""
        return Engine(host=self.docker_host, ours=self.ours, can_pull=self.way == "pull")


def remember(here: Paths, chosen: Chosen) -> None:
    """Stores the choice before anything is created, so that `down` can find it."""
    here.state.mkdir(parents=True, exist_ok=True)
    (here.state / "way.json").write_text(json.dumps(asdict(chosen)))


def recall(here: Paths) -> Chosen | None:
    """How our cluster was created; None if there is none."""
    file = here.state / "way.json"
    return Chosen(**json.loads(file.read_text())) if file.exists() else None


def foreign(here: Paths) -> str | None:
    """The user's own KUBECONFIG, if there is one."""
    return users_kubeconfig(os.environ.get("KUBECONFIG"), here.kubeconfig)


def check_foreign(here: Paths) -> None:
    """Checks that the cluster in the user's KUBECONFIG answers.

    Raises:
        UsageError: it does not answer.
    """
    kubeconfig = foreign(here)
    if kubeconfig and not Kubectl(kubeconfig).reachable():
        raise UsageError(
            f"KUBECONFIG is set to {kubeconfig}, but its cluster does not answer: "
            "correct it, or unset it to create a cluster here"
        )


def existing_engine(here: Paths) -> Engine | None:
    """A running Docker engine that is not ours."""
    host = os.environ.get("DOCKER_HOST")
    if host == dockerd.own_engine(here).host:
        host = None
    engine = Engine(host=host, ours=False, can_pull=False)
    return engine if engine.answers() else None


def choose(here: Paths) -> Chosen:
    """The first way that is possible.

    Raises:
        UsageError: none is possible.
    """
    engine = existing_engine(here)
    if engine and can_pull(engine):
        return Chosen(way="pull", docker_host=engine.host, ours=False)
    if machine.can_build_everything():
        # A running engine is good enough, unless it needs the wrapper that only ours has.
        if engine and not machine.capability_missing(machine.CAP_SYS_RESOURCE):
            return Chosen(way="build", docker_host=engine.host, ours=False)
        return Chosen(way="build", docker_host=dockerd.own_engine(here).host, ours=True)
    raise UsageError(NO_WAY)


def can_pull(engine: Engine) -> bool:
    """Whether the engine has the published node image or can pull it.

    Pulls a small image first: an engine without access to its registry often fails only after
    minutes.
    """
    image = versions.PUBLISHED_NODE_IMAGE
    if engine.has_image(image):
        return True
    try:
        engine.docker("pull", "--quiet", "hello-world", timeout=PULL_CHECK_SECONDS)
        with step("pull", f"pull {image.partition('@')[0]}") as log:
            log.run(["docker", "pull", image], timeout=PULL_SECONDS, env=engine.env)
    except ClusterError as error:
        say(f"the Docker engine cannot pull images: {str(error).splitlines()[-1]}")
        return False
    return True


def start_engine(here: Paths, chosen: Chosen) -> None:
    """Starts the engine of the chosen way if it does not run."""
    if not chosen.ours:
        return
    machine.install_engine()
    if dockerd.own_pid(here) is not None and chosen.engine.answers():
        return
    with step("dockerd", "start our own Docker engine") as log:
        dockerd.start(here, log)
