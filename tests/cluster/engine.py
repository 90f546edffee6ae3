"""A Docker engine, ours or not, and the operations on it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.steps import CommandFailed, Log, capture, clean_environment


@dataclass(frozen=True)
class Engine:
    """A Docker engine: its address, whether we started it, and whether it can pull."""

    host: str | None
    ours: bool
    can_pull: bool

    @property
    def env(self) -> dict[str, str]:
        """The environment for docker and kind.

        Debian's engine cannot pull a BuildKit frontend, so it uses the legacy builder.
        """
        extra = {"DOCKER_HOST": self.host} if self.host else {}
        if not self.can_pull:
            extra["DOCKER_BUILDKIT"] = "0"
        return clean_environment(extra)

    def docker(self, *args: str, timeout: float = 60, stdin: str | None = None) -> str:
        """The output of a short docker command."""
        return capture(["docker", *args], timeout=timeout, env=self.env, stdin=stdin)

    def answers(self) -> bool:
        """Whether the engine answers."""
        if shutil.which("docker") is None:
            return False
        try:
            self.docker("version", "--format", "{{.Server.Version}}", timeout=10)
        except CommandFailed:
            return False
        return True

    def has_image(self, image: str) -> bool:
        """Whether the engine has this image."""
        return self.image_id(image) is not None

    def image_id(self, image: str) -> str | None:
        """The id of an image; None if the engine does not have it."""
        try:
            return self.docker("image", "inspect", "--format", "{{.Id}}", image).strip()
        except CommandFailed as error:
            if "no such image" in str(error).lower():
                return None
            raise

    def import_tar(self, log: Log, tar: Path, image: str, changes: Sequence[str]) -> None:
        """Creates an image with one layer from a tar."""
        options = [part for change in changes for part in ("--change", change)]
        command = ["docker", "import", *options, str(tar), image]
        log.run(command, timeout=300, env=self.env)
