"""Records on the volume that outlives a restart of the agent: few of them, and a bounded size.

The volume is small and a pod that fills it is evicted. So copies of records that are in S3 go
first, oldest first; then the largest parts of those that are not.
"""

import json
import os
import re
import threading
from typing import Any, Final

from nanogrid_executor.log import log
from nanogrid_executor.session.record import cut

LIMIT_BYTES: Final = 24 * 1024 * 1024
CUT_STREAM_BYTES: Final = 2048
_NAME: Final = re.compile(r"execution_(\d+)\.(stored|new|note)")

Record = dict[str, Any]


class Spool:
    """A directory with one file per record; its name says whether S3 has it too."""

    def __init__(self, directory: str, limit_bytes: int = LIMIT_BYTES) -> None:
        self.directory = directory
        self.limit_bytes = limit_bytes
        self._lock = threading.Lock()
        self._sizes: dict[int, int] = {}
        self._stored: dict[int, bool] = {}
        self._notes: set[int] = set()
        os.makedirs(directory, exist_ok=True)
        for entry in os.scandir(directory):
            match = _NAME.fullmatch(entry.name)
            if match is None:
                continue
            number = int(match[1])
            if match[2] == "note":
                self._notes.add(number)
            else:
                self._sizes[number] = entry.stat().st_size
                self._stored[number] = match[2] == "stored"

    def unstored(self) -> list[int]:
        """Which are not in S3 yet, oldest first."""
        with self._lock:
            return sorted(number for number, stored in self._stored.items() if not stored)

    def note(self, number: int, note: Record) -> None:
        """Leave word of an execution that has no record yet.

        Raises:
            OSError: it could not be written.
        """
        with open(self._note_path(number), "w", encoding="utf-8") as file:
            json.dump(note, file)
        self._notes.add(number)

    def notes(self) -> list[Record]:
        """What was left of executions that have no record, oldest first."""
        found = []
        for number in sorted(self._notes):
            try:
                with open(self._note_path(number), encoding="utf-8") as file:
                    found.append(json.load(file))
            except ValueError as error:  # cut off by the end of an agent
                log("note-broken", execution=number, error=error)
        return found

    def put(self, number: int, record: Record) -> None:
        """Write or replace one record that is not in S3 yet, and make room for it.

        Raises:
            OSError: it could not be written.
        """
        with self._lock:
            self._write(number, record)
            if number in self._notes:
                self._notes.discard(number)
                os.unlink(self._note_path(number))
            for other in [n for n in sorted(self._stored) if self._stored[n]]:
                if self._total() <= self.limit_bytes:
                    return
                self._remove(other)
            for other in sorted(self._sizes):
                if self._total() <= self.limit_bytes:
                    return
                kept = self._load(other)
                if kept is not None and self._sizes[other] > 4 * CUT_STREAM_BYTES:
                    log("record-cut", execution=other, bytes=self._sizes[other])
                    self._write(other, cut(kept, CUT_STREAM_BYTES))

    def get(self, number: int) -> Record | None:
        """One record, if it is here."""
        with self._lock:
            return self._load(number)

    def is_stored(self, number: int) -> bool:
        """Whether it is in S3; one that is not here is, for nothing else is removed."""
        return self._stored.get(number, True)

    def mark_stored(self, number: int) -> None:
        """S3 has it: it may go when there is no room."""
        with self._lock:
            if self._stored.get(number) is False:
                os.rename(self._path(number, stored=False), self._path(number, stored=True))
                self._stored[number] = True

    def _total(self) -> int:
        return sum(self._sizes.values())

    def _path(self, number: int, *, stored: bool) -> str:
        return f"{self.directory}/execution_{number}.{'stored' if stored else 'new'}"

    def _note_path(self, number: int) -> str:
        return f"{self.directory}/execution_{number}.note"

    def _load(self, number: int) -> Record | None:
        if number not in self._sizes:
            return None
        with open(self._path(number, stored=self._stored[number]), encoding="utf-8") as file:
            loaded: Record = json.load(file)
            return loaded

    def _write(self, number: int, record: Record) -> None:
        text = json.dumps(record, ensure_ascii=False).encode(errors="replace")
        path = self._path(number, stored=False)
        with open(f"{path}.writing", "wb") as file:
            file.write(text)
        os.rename(f"{path}.writing", path)
        self._sizes[number], self._stored[number] = len(text), False

    def _remove(self, number: int) -> None:
        os.unlink(self._path(number, stored=True))
        del self._sizes[number], self._stored[number]
