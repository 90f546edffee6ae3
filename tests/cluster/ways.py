"""Chooses one of the three ways to a cluster on this machine."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass

from cluster import dockerd, machine, versions
from cluster.decisions import engine_problem, way_to_cluster
from cluster.engine import Engine
from cluster.host import Host
from cluster.kubectl import Kubectl, users_kubeconfig
from cluster.paths import Paths
from cluster.progress import say
from cluster.steps import ClusterError, UsageError, step

PULL_SECONDS = 300
PULL_CHECK_SECONDS = 20


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


def users_engine(here: Paths) -> tuple[Engine, Host]:
    """The user's Docker engine, which may not work, and this machine with it.

    Its address is DOCKER_HOST, or that of DOCKER_CONTEXT; None is Docker's own default.
    """
    address = os.environ.get("DOCKER_HOST")
    if address == dockerd.own_engine(here).host:
        address = None
    elif not address and os.environ.get("DOCKER_CONTEXT"):
        address = machine.docker_endpoint(os.environ)
    engine = Engine(host=address or None, ours=False, can_pull=False)
    return engine, machine.observe(machine.ask_docker(engine.env))


def choose(here: Paths) -> Chosen:
    """The first way that is possible.

    Raises:
        UsageError: none is possible.
    """
    engine, host = users_engine(here)
    pulls = engine_problem(host, cluster=True) is None and can_pull(engine)
    needs_wrapper = machine.capability_missing(machine.CAP_SYS_RESOURCE)
    way = way_to_cluster(host, pulls=pulls, needs_wrapper=needs_wrapper)
    address = dockerd.own_engine(here).host if way.ours else engine.host
    return Chosen(way=way.name, docker_host=address, ours=way.ours)


def engine_for_images(here: Paths) -> Chosen:
    """How images are built without a cluster of ours: also with an engine on another machine.

    Raises:
        UsageError: there is no engine.
    """
    engine, host = users_engine(here)
    if engine_problem(host, cluster=False) is None and can_pull(engine):
        return Chosen(way="pull", docker_host=engine.host, ours=False)
    return choose(here)


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
