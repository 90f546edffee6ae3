"""The commands; each is a short sequence of steps."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from cluster import dockerd, gobuild, machine, versions, ways
from cluster.baseimage import base_image
from cluster.cache import exclusive
from cluster.engine import Engine
from cluster.kindcluster import KindCluster
from cluster.lanes import Lanes, parallel_lanes
from cluster.nodeimage import node_image, node_root
from cluster.paths import SOURCE, Paths, paths
from cluster.progress import duration, say
from cluster.report import report, text
from cluster.steps import ClusterError, UsageError, step
from cluster.toolimages import tool_image
from cluster.ways import Chosen

# The longest first run on a slow machine; a second run waits as long for it.
LOCK_SECONDS = 3600
IMAGES_SECONDS = 1800
CHECKOUT = SOURCE.parents[1]
NO_CLUSTER = "no cluster yet: run `make cluster-up`"


def up(images: bool = False) -> None:
    """Creates a cluster if there is none; with `images`, builds the project's images meanwhile."""
    here = paths()
    start = time.monotonic()
    with exclusive(here, LOCK_SECONDS):
        if ways.foreign(here) is not None:
            gobuild.missing_clients(here, gobuild.FOR_USERS_CLUSTER)
            ways.check_foreign(here)
            say(f"using the cluster in KUBECONFIG ({ways.foreign(here)}); nothing is created")
            return
        done = _own_cluster(here, images)
    say(f"cluster {here.cluster}: {done}, {duration(time.monotonic() - start)}")


def _own_cluster(here: Paths, images: bool) -> str:
    known = ways.recall(here)
    if known and _cluster(here, known).healthy():
        return "already running"
    chosen = known if known and known.ours else ways.choose(here)
    ways.remember(here, chosen)
    ways.start_engine(here, chosen)
    if known and _repaired(here, chosen):
        return "repaired"
    with parallel_lanes() as lanes:
        if images:
            lanes.start("images", lambda: _images(chosen.engine), required=False)
        if chosen.way == "pull":
            gobuild.missing_clients(here, gobuild.FOR_PUBLISHED_NODES)
            _cluster(here, chosen).create(versions.PUBLISHED_NODE_IMAGE)
        else:
            _build_and_create(here, chosen, lanes)
    return "created"


def _repaired(here: Paths, chosen: Chosen) -> bool:
    if not _cluster(here, chosen).complete():
        return False
    if chosen.way == "build":
        gobuild.clients(here, gobuild.KIND, gobuild.HELM, gobuild.KUBERNETES)
        # Before the repair: a failure of this build is no reason to create the cluster again.
        gobuild.build(gobuild.KUBE_ROUTER)
    else:
        gobuild.missing_clients(here, gobuild.FOR_PUBLISHED_NODES)
    return _cluster(here, chosen).repair()


def _build_and_create(here: Paths, chosen: Chosen, lanes: Lanes) -> None:
    """Builds the node image and creates the cluster; a lane builds what is needed later."""
    gobuild.go_command(here)
    later = (gobuild.KIND, gobuild.KUBE_ROUTER, gobuild.HELM)
    lanes.start("tools", *(partial(gobuild.build, program) for program in later))
    lanes.start("node-os", node_root)
    machine.raise_inotify_limits()
    image = node_image(here, chosen.engine)
    gobuild.clients(here, gobuild.KIND, gobuild.KUBERNETES)
    # After its command: a cluster looks for kubectl when it is constructed.
    _cluster(here, chosen).create(image)
    gobuild.clients(here, gobuild.HELM)


def _images(engine: Engine) -> None:
    """Builds the project's images; `make images` then finds them."""
    base = base_image(engine)
    with step("images", "build the project's images") as log:
        command = [sys.executable, str(CHECKOUT / "scripts/images.py"), "--base", base]
        log.run(command, timeout=IMAGES_SECONDS, env=engine.env, cwd=CHECKOUT)


def _cluster(here: Paths, chosen: Chosen) -> KindCluster:
    return KindCluster(here, chosen.engine, own_network=chosen.way == "build")


def down(purge: bool) -> None:
    """Deletes our cluster and stops the engine we started."""
    here = paths()
    with exclusive(here, LOCK_SECONDS):
        chosen = ways.recall(here)
        if chosen:
            _delete_cluster(here, chosen)
        else:
            say(f"no cluster {here.cluster} to delete")
        if dockerd.own_pid(here) is not None and not _clusters(here):
            with step("dockerd-stop", "stop the Docker engine we started") as log:
                dockerd.stop(here, log)
        if purge:
            _purge(here)


def _delete_cluster(here: Paths, chosen: Chosen) -> None:
    # Our engine must run: the containers of a killed engine are on its disk and may still run.
    ways.start_engine(here, chosen)
    if chosen.engine.answers():
        cluster = _cluster(here, chosen)
        if cluster.containers():
            cluster.delete()
    else:
        say("its Docker engine does not answer, so nothing is deleted in it")
    shutil.rmtree(here.state)


def _clusters(here: Paths) -> list[str]:
    """The names of all our clusters in this cache."""
    parent = here.state.parent
    return sorted(entry.name for entry in parent.iterdir()) if parent.is_dir() else []


def _purge(here: Paths) -> None:
    others = _clusters(here)
    if others:
        raise ClusterError(f"not purged: other clusters use {here.root}: {', '.join(others)}")
    say(f"==> delete {here.root}")
    for mount in mounts_below(here.root, Path("/proc/self/mounts")):
        machine.unmount(mount)
    shutil.rmtree(here.root)


def mounts_below(root: Path, table: Path) -> list[str]:
    """The mount points below a directory, innermost first: namespaces of a killed engine."""
    if not table.exists():
        return []
    points = [line.split()[1] for line in table.read_text().splitlines()]
    return sorted((point for point in points if point.startswith(f"{root}/")), reverse=True)


def env() -> None:
    """Prints shell exports for the cluster."""
    here = paths()
    exports: dict[str, str] = {}
    chosen = ways.recall(here)
    if ways.foreign(here) is not None:
        exports["KUBECONFIG"] = os.environ["KUBECONFIG"]
    elif chosen and here.kubeconfig.exists():
        exports["KUBECONFIG"] = str(here.kubeconfig)
        if chosen.docker_host:
            exports["DOCKER_HOST"] = chosen.docker_host
        if not chosen.engine.can_pull:
            exports["DOCKER_BUILDKIT"] = "0"
    else:
        raise UsageError(NO_CLUSTER)
    for name, value in exports.items():
        print(f"export {name}={shlex.quote(value)}")
    print(f'export PATH={shlex.quote(str(here.bin))}:"$PATH"')


def load(images: Sequence[str]) -> None:
    """Copies images to the nodes."""
    here = paths()
    _cluster(here, _loadable(here)).load(images)


def _loadable(here: Paths) -> Chosen:
    """How our cluster was created; only its nodes can get images from an engine."""
    if ways.foreign(here) is not None:
        raise UsageError(
            "images cannot be copied into the cluster in KUBECONFIG, because it is not ours: "
            "push them to a registry from which it can pull"
        )
    chosen = ways.recall(here)
    if chosen is None:
        raise UsageError(NO_CLUSTER)
    return chosen


def base() -> None:
    """Prints the name of the base image of our images."""
    here = paths()
    with exclusive(here, LOCK_SECONDS):
        chosen = ways.recall(here) or ways.engine_for_images(here)
        ways.start_engine(here, chosen)
        print(base_image(chosen.engine))


def tool(name: str) -> None:
    """Prints the path of another tool; builds it if it is missing."""
    here = paths()
    with exclusive(here, LOCK_SECONDS):
        gobuild.publish(here, gobuild.build(gobuild.TOOLS[name]), name)
    print(here.bin / name)


def load_tool(name: str) -> None:
    """Prints the image of another tool, which then is on the nodes; builds it if it is missing."""
    here = paths()
    chosen = _loadable(here)
    with exclusive(here, LOCK_SECONDS):
        image = tool_image(here, chosen.engine, name)
        _cluster(here, chosen).load([image])
    print(image)


def status(as_json: bool) -> None:
    """Prints the cluster's state."""
    content = report(paths())
    print(json.dumps(content, indent=2) if as_json else text(content))
