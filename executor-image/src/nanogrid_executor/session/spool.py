"""Records on the volume that survives a restart of the agent: few files, and a bounded size.

The volume is small, and the kubelet evicts a pod that fills it. When space runs out, copies of
records that S3 has are removed, oldest first. Then the largest parts of the other records are cut.
"""

import json
import os
import re
import threading
from typing import Any, Final

from nanogrid_executor.log import warn
from nanogrid_executor.session.record import cut_record

LIMIT_BYTES: Final = 24 * 1024 * 1024
CUT_STREAM_BYTES: Final = 2048
_NAME: Final = re.compile(r"execution_(\d+)\.(stored|new|note)")

Record = dict[str, Any]


class Spool:
    """A directory with one file per record; the file's name says whether S3 has it too."""

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
        """The numbers of records that S3 does not have yet, oldest first."""
        with self._lock:
            return sorted(number for number, stored in self._stored.items() if not stored)

    def write_note(self, number: int, note: Record) -> None:
        """Write a note about an execution that has no record yet.

        Raises:
            OSError: it could not be written.
        """
        with open(self._note_path(number), "w", encoding="utf-8") as file:
            json.dump(note, file)
        self._notes.add(number)

    def notes(self) -> list[Record]:
        """The notes about executions that have no record, oldest first."""
        found = []
        for number in sorted(self._notes):
            try:
                with open(self._note_path(number), encoding="utf-8") as file:
                    found.append(json.load(file))
            except ValueError as error:  # the agent ended while it wrote the note
                warn("note-broken", execution=number, error=error)
        return found

    def put(self, number: int, record: Record) -> None:
        """Write or replace one record that S3 does not have yet, and free space for it.

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
                    warn("record-cut", execution=other, bytes=self._sizes[other])
                    self._write(other, cut_record(kept, CUT_STREAM_BYTES))

    def get(self, number: int) -> Record | None:
        """One record; None if it is not here."""
        with self._lock:
            return self._load(number)

    def is_stored(self, number: int) -> bool:
        """Whether S3 has the record; also True for a removed one: only stored ones are removed."""
        return self._stored.get(number, True)

    def mark_stored(self, number: int) -> None:
        """S3 has the record: its copy here may be removed."""
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
