"""The JSON schema of eksctl's configuration files, from eksctl's Go module.

It is downloaded once, into the cache of tests/cluster.
"""

import json
import shutil
from pathlib import Path

from cluster.cache import artifact, key_of
from cluster.gobuild import go_command, go_environment
from cluster.paths import paths
from cluster.steps import Log
from nanogrid.types import Json

# The newest version that Go's module proxy serves.
MODULE = "github.com/weaveworks/eksctl@v0.215.0"
SCHEMA = "pkg/apis/eksctl.io/v1alpha5/assets/schema.json"


def schema() -> Json:
    """The schema of a ClusterConfig."""

    def download(draft: Path, log: Log) -> None:
        here = paths()
        answer = draft / "answer.json"
        with answer.open("wb") as file:
            command = [str(go_command(here)), "mod", "download", "-json", MODULE]
            log.run(command, timeout=600, env=go_environment(here), cwd=draft, stdout=file)
        folder = Path(json.loads(answer.read_text())["Dir"])
        shutil.copyfile(folder / SCHEMA, draft / "schema.json")

    folder = artifact("eksctl-schema", key_of(MODULE, SCHEMA), "download eksctl's schema", download)
    found: Json = json.loads((folder / "schema.json").read_text())
    return found
