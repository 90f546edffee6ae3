"""Where things are in the pod; a root in front of every path lets tests run outside of one."""

import os
from dataclasses import dataclass

from nanogrid import names


@dataclass(frozen=True, slots=True)
class Paths:
    """The paths of :mod:`nanogrid.names` below ``root``, which is empty in a pod."""

    root: str = ""

    def real(self, path: str) -> str:
        """Where a path of the pod is on this machine."""
        return self.root + path

    @property
    def workspace(self) -> str:
        """The directory of code, inputs and outputs."""
        return self.real(names.WORKSPACE)

    @property
    def run_dir(self) -> str:
        """The directory that user code can read and not write."""
        return self.real(names.RUN_DIR)

    @property
    def socket(self) -> str:
        """The agent's Unix socket."""
        return self.real(names.AGENT_SOCKET)

    @property
    def manifest(self) -> str:
        """The sync's proof that all inputs are in place."""
        return self.real(names.MANIFEST_FILE)

    @property
    def token(self) -> str:
        """The projected token that the operator accepts results with."""
        return self.real(names.TOKEN_FILE)

    def write_manifest(self, text: str) -> None:
        """Put the proof in place: whole, on disk, or not there at all."""
        temporary = f"{self.manifest}.new"
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, self.manifest)

    def write_termination(self, message: str) -> None:
        """Leave the last words that the kubelet copies into the pod's status."""
        path = self.real(names.TERMINATION_FILE)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(message)
