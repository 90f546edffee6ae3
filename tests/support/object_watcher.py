"""A watch of all objects of one kind, through kubectl with the user's credentials."""

import json
import subprocess
import threading
from collections.abc import Callable

from nanogrid.types import Json
from support.kubectl import KubectlError, kubectl

RETRY_SECONDS = 1.0


class ObjectWatcher:
    """Calls a function, in its own thread, with each version of each object.

    Args:
        path: the path of the kind at the API server.
        on_object: gets the object.
    """

    def __init__(self, path: str, on_object: Callable[[Json], None]) -> None:
        self._path = path
        self._on_object = on_object
        self.listed = threading.Event()
        self._over = threading.Event()
        self._watch: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._follow, name=f"watch {path}", daemon=True)

    def start(self) -> None:
        """Start the watch; returns when the objects of the first LIST are handled."""
        self._thread.start()
        if not self.listed.wait(120):
            raise AssertionError(f"kubectl cannot list {self._path}")

    def stop(self) -> None:
        """End the watch."""
        self._over.set()
        if self._watch is not None:
            self._watch.terminate()
        self._thread.join(10)

    def _follow(self) -> None:
        while not self._over.is_set():
            try:
                found = json.loads(kubectl("get", "--raw", self._path))
            except (KubectlError, subprocess.TimeoutExpired):
                self._over.wait(RETRY_SECONDS)  # a fault test may have stopped the API server
                continue
            for body in found["items"]:
                self._on_object(body)
            self.listed.set()
            self._stream(found["metadata"]["resourceVersion"])

    def _stream(self, version: str) -> None:
        """Record events until the API server ends the watch."""
        url = f"{self._path}?watch=true&resourceVersion={version}"
        with subprocess.Popen(
            ["kubectl", "get", "--raw", url],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        ) as self._watch:  # fmt: skip
            assert self._watch.stdout is not None
            for line in self._watch.stdout:
                if self._over.is_set():
                    break
                if line.endswith("\n"):  # the last line of an interrupted watch is incomplete
                    event = json.loads(line)
                    if event["type"] != "ERROR":
                        self._on_object(event["object"])
            self._watch.terminate()
