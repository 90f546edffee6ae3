"""Images of tools that run in the cluster: one static binary, as the control plane's images."""

from __future__ import annotations

import json

from cluster import gobuild
from cluster.cache import key_of
from cluster.componentimages import add_binary
from cluster.engine import Engine
from cluster.nodeimage import scratch_directory
from cluster.paths import SOURCE, Paths
from cluster.steps import step


def image_name(command: str) -> str:
    """The name of the image of a tool's command; the tag is a hash of all inputs."""
    sources = [SOURCE / "toolimages.py", SOURCE / "componentimages.py"]
    return f"nanogrid-tool-{command}:{key_of(gobuild.TOOLS[command].key, *sources)}"


def tool_image(here: Paths, engine: Engine, command: str) -> str:
    """The name of the image in this engine; builds the tool and the image if they are missing."""
    binary = gobuild.build(gobuild.TOOLS[command]) / command
    image = image_name(command)
    if not engine.has_image(image):
        with step("tool-image", f"make the image {image}") as log, scratch_directory(here) as draft:
            layer = draft / f"{command}.tar"
            add_binary(layer, binary)
            path = f"/usr/local/bin/{command}"
            engine.import_tar(log, layer, image, [f"ENTRYPOINT {json.dumps([path])}"])
    return image
