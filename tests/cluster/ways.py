"""Which of the three ways leads to a cluster on this machine."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass

from cluster import dockerd, machine, versions
from cluster.engine import Engine
from cluster.kubectl import Kubectl, given
from cluster.paths import Paths
from cluster.steps import ClusterError, UsageError, say, step

PULL_SECONDS = 300
HOPELESS_SECONDS = 20

THREE_WAYS_OUT = """no cluster can be made here. One of these helps:
  1. set KUBECONFIG to a cluster that you may use for tests;
  2. start a Docker engine that can pull images (`docker info` must work for you);
  3. run as root on Debian: everything is then built from package registries."""


@dataclass(frozen=True)
class Chosen:
    """How the cluster was made; kept beside its kubeconfig."""

    way: str
    docker_host: str | None
    ours: bool

    @property
    def engine(self) -> Engine:
        """The engine the cluster's nodes run in."""
        return Engine(host=self.docker_host, ours=self.ours, can_pull=self.way == "pull")


def remember(here: Paths, chosen: Chosen) -> None:
    """Writes it down, before anything is created that `down` would have to find again."""
    here.state.mkdir(parents=True, exist_ok=True)
    (here.state / "way.json").write_text(json.dumps(asdict(chosen)))


def recall(here: Paths) -> Chosen | None:
    """How our cluster was made; None if there is none."""
    file = here.state / "way.json"
    return Chosen(**json.loads(file.read_text())) if file.exists() else None


def foreign(here: Paths) -> str | None:
    """The user's own KUBECONFIG, if there is one."""
    return given(os.environ.get("KUBECONFIG"), here.kubeconfig)


def check_foreign(here: Paths) -> None:
    """Complains if there is a KUBECONFIG of the user's and its cluster cannot be reached."""
    kubeconfig = foreign(here)
    if kubeconfig and not Kubectl(kubeconfig).reachable():
        raise UsageError(
            f"KUBECONFIG is set to {kubeconfig}, but its cluster does not answer: "
            "correct it, or unset it to get a cluster of our own"
        )


def existing_engine(here: Paths) -> Engine | None:
    """A Docker engine that is not ours and answers."""
    host = os.environ.get("DOCKER_HOST")
    if host == dockerd.own_engine(here).host:
        host = None
    engine = Engine(host=host, ours=False, can_pull=False)
    return engine if engine.answers() else None


def choose(here: Paths) -> Chosen:
    """The first way that is open; UsageError if none is."""
    engine = existing_engine(here)
    if engine and can_pull(engine):
        return Chosen(way="pull", docker_host=engine.host, ours=False)
    if machine.can_build_everything():
        # A running engine serves us too, unless it would need the wrapper that only our
        # own engine has.
        if engine and not machine.capability_missing(machine.CAP_SYS_RESOURCE):
            return Chosen(way="build", docker_host=engine.host, ours=False)
        return Chosen(way="build", docker_host=dockerd.own_engine(here).host, ours=True)
    raise UsageError(THREE_WAYS_OUT)


def can_pull(engine: Engine) -> bool:
    """Whether the engine has, or gets, the published node image.

    A small image is tried first: an engine without a way to its registry often fails only
    after minutes.
    """
    image = versions.PUBLISHED_NODE_IMAGE
    if engine.has_image(image):
        return True
    try:
        engine.docker("pull", "--quiet", "hello-world", timeout=HOPELESS_SECONDS)
        with step("pull", f"pull {image.partition('@')[0]}") as log:
            log.run(["docker", "pull", image], timeout=PULL_SECONDS, env=engine.env)
    except ClusterError as error:
        say(f"the Docker engine cannot pull images: {str(error).splitlines()[-1]}")
        return False
    return True


def start_engine(here: Paths, chosen: Chosen) -> None:
    """Makes sure the engine of the chosen way runs."""
    if not chosen.ours:
        return
    machine.install_engine()
    if dockerd.own_pid(here) is not None and chosen.engine.answers():
        return
    with step("dockerd", "start a Docker engine of our own") as log:
        dockerd.start(here, log)
