"""Reaps the children of PID 1, and kills those that belong to no process tree.

Standard library only. A child without a tree is an orphan: its subreaper was killed.
"""

import os
import signal
import time
from collections.abc import Iterable, Sequence
from typing import Final

from nanogrid_executor.launcher import batch, proc
from nanogrid_executor.launcher.process_tree import ProcessTree, send_signal
from nanogrid_executor.launcher.signals import Signals

END_SECONDS: Final = 5.0
END_INTERVAL: Final = 0.02


class Reaper:
    """Reaps ended children; remembers whether orphans may be left."""

    def __init__(self) -> None:
        self._orphans_possible = False

    def reap(self, trees: Sequence[ProcessTree]) -> None:
        """Reap every child that ended; kill orphans."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            owner = next((tree for tree in trees if tree.subreaper_pid == pid), None)
            if owner is not None and not owner.gone:
                owner.on_reaped(usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)
            if owner is None or status != 0:
                self._orphans_possible = True  # PID 1 adopts the tree of a killed subreaper
        if self._orphans_possible:
            self._orphans_possible = kill_orphans(trees) > 0


def kill_orphans(trees: Iterable[ProcessTree]) -> int:
    """Kill children that belong to no tree, with their descendants; returns how many children."""
    processes = proc.read_table()
    launcher = os.getpid()
    subreapers = {tree.subreaper_pid for tree in trees if not tree.gone}
    orphans = [
        pid
        for pid, entry in processes.items()
        if entry.parent == launcher and pid not in subreapers and not entry.ended
    ]
    for orphan in orphans:
        for pid in (*proc.descendants(processes, orphan), orphan):
            send_signal(pid, signal.SIGKILL)
    return len(orphans)


def kill_everything(trees: Sequence[ProcessTree], signals: Signals) -> None:
    """Kill and reap all processes, of executions and of contexts, within ``END_SECONDS``."""
    deadline = time.monotonic() + END_SECONDS
    while time.monotonic() < deadline:
        if os.getpid() == 1:
            batch.kill_all(signal.SIGKILL, None)
        for tree in trees:
            tree.kill(signal.SIGKILL, subreaper=True)
        kill_orphans(trees)
        try:
            while os.wait4(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        signals.sleep(END_INTERVAL)
