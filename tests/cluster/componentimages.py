"""The control plane's images: each has one static binary and nothing else."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

from cluster.engine import Engine
from cluster.steps import Log
from cluster.versions import COMPONENT_IMAGES

# kube-proxy in nftables mode calls nft; the node has it, with the libraries it needs.
COLLECT_NFT = (
    "{ echo /usr/sbin/nft; ldd /usr/sbin/nft | grep -o '/[^ ]*'; } "
    "| tar --create --dereference --files-from=- 2>/dev/null"
)


def component_images(
    engine: Engine, log: Log, node_base: str, binaries: Mapping[str, Path], scratch: Path
) -> Path:
    """An archive, as from `docker save`, of all images that kubeadm needs."""
    names: list[str] = []
    for component, images in COMPONENT_IMAGES.items():
        layer = scratch / f"{component}.tar"
        if component == "kube-proxy":
            with layer.open("wb") as file:
                command = ["docker", "run", "--rm", "--entrypoint", "sh", node_base]
                log.run([*command, "-c", COLLECT_NFT], timeout=120, env=engine.env, stdout=file)
        add_binary(layer, binaries[component])
        path = f"/usr/local/bin/{component}"
        engine.import_tar(log, layer, images[0], [f"ENTRYPOINT {json.dumps([path])}"])
        for other in images[1:]:
            log.run(["docker", "tag", images[0], other], timeout=60, env=engine.env)
        names += images
    archive = scratch / "components.tar"
    log.run(["docker", "save", "--output", archive, *names], timeout=300, env=engine.env)
    # The nodes have them from here on; in the engine they would only use disk space.
    log.run(["docker", "image", "rm", *names], timeout=120, env=engine.env)
    return archive


def add_binary(layer: Path, binary: Path) -> None:
    """Adds the binary to the layer's tar under /usr/local/bin, owned by root."""
    with tarfile.open(layer, "a") as tar:
        entry = tar.gettarinfo(binary, arcname=f"usr/local/bin/{binary.name}")
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = "root"
        entry.mode = 0o755
        with binary.open("rb") as file:
            tar.addfile(entry, file)
