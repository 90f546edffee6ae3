"""The paths of the pod. Tests put a root in front of them to run outside of a pod."""

import os
from typing import NamedTuple

from nanogrid import names


class Paths(NamedTuple):
    """The paths of :mod:`nanogrid.names` below ``root``, which is empty in a pod."""

    root: str = ""

    def real(self, path: str) -> str:
        """The path on this machine for a path of the pod."""
        return self.root + path

    @property
    def workspace(self) -> str:
        """The directory of code, inputs and outputs."""
        return self.real(names.WORKSPACE)

    @property
    def run_dir(self) -> str:
        """The directory that user code can read but not write."""
        return self.real(names.RUN_DIR)

    @property
    def socket(self) -> str:
        """The agent's Unix socket."""
        return self.real(names.AGENT_SOCKET)

    @property
    def manifest(self) -> str:
        """The file that proves that all inputs are in place."""
        return self.real(names.MANIFEST_FILE)

    @property
    def token(self) -> str:
        """The projected token that authorizes the agent at the operator's results endpoint."""
        return self.real(names.TOKEN_FILE)

    def write_manifest(self, text: str) -> None:
        """Write the manifest atomically: it is complete and on disk, or it does not exist."""
        temporary = f"{self.manifest}.new"
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, self.manifest)

    def write_termination(self, message: str) -> None:
        """Write the termination message, which the kubelet copies into the pod's status."""
        path = self.real(names.TERMINATION_FILE)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(message)
