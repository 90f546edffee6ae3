"""One record per execution: on the pod's volume immediately, in S3 before the answer is sent.

While S3 is unavailable the answer does not wait for it. A background thread retries until S3 has
the record, and the end of the session tries one last time.
"""

import json
import re
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from nanogrid import names
from nanogrid.backoff import jitter
from nanogrid.reasons import Reason
from nanogrid_executor.clock import Deadline, DeadlineError
from nanogrid_executor.log import log, warn
from nanogrid_executor.session.record_storage import get_bytes, per_request_storage
from nanogrid_executor.session.spool import Record, Spool
from nanogrid_executor.storage.errors import StorageError

if TYPE_CHECKING:
    from nanogrid_executor.storage.s3 import Storage

PUT_SECONDS: Final = 3.0  # the longest that an answer waits for S3
FIRST_DELAY_SECONDS: Final = 1.0
LONGEST_DELAY_SECONDS: Final = 30.0
LIST_DELAYS: Final = (1.0, 2.0, 4.0)
GET_SECONDS: Final = 30.0
_KEY: Final = re.compile(r"execution_(\d+)\.json")


def _quick_storage() -> "Storage":
    return per_request_storage(PUT_SECONDS)


@dataclass(eq=False)
class Records:
    """The records of one session; thread-safe."""

    bucket: str
    request_id: str
    spool: Spool
    root: str = ""  # of the namespace in the bucket
    _quick: "Storage" = field(default_factory=_quick_storage, init=False)
    _wake: threading.Event = field(default_factory=threading.Event, init=False)
    _unavailable: bool = field(default=False, init=False)
    _storing: threading.Lock = field(default_factory=threading.Lock, init=False)

    def start(self) -> None:
        """Start the thread that stores the records that S3 did not accept at first."""
        if self.bucket:
            threading.Thread(target=self._keep_storing, name="records", daemon=True).start()
            if self.spool.unstored():
                self._wake.set()

    def last_in_s3(self) -> int:
        """The highest number of a record that S3 has.

        Raises:
            StorageError, DeadlineError: S3 could not be read.
        """
        if not self.bucket:
            return 0
        storage = per_request_storage(PUT_SECONDS, LIST_DELAYS)
        prefix = self.root + names.session_prefix(self.request_id) + names.SESSION_DEBUG
        keys = [item.key for item in storage.listing(self.bucket, prefix)]
        matches = [_KEY.fullmatch(key.rsplit("/", 1)[-1]) for key in keys]
        return max((int(match[1]) for match in matches if match), default=0)

    def keep(self, record: Record) -> None:
        """Write the record to the pod's volume; logs a failure, S3 may still accept it."""
        try:
            self.spool.put(record["execution_num"], record)
        except OSError as error:
            warn("record-not-kept", execution=record["execution_num"], error=error)

    def store(self, record: Record) -> bool:
        """Store the record in S3; False when S3 failed, and the background thread retries.

        Takes at most about ``PUT_SECONDS``.
        """
        if not self.bucket:
            return False
        if self._put(record, self._quick):
            return True
        self._wake.set()
        return False

    def recorded(self, number: int) -> bool:
        """Whether S3 has the record of an ended execution."""
        return bool(self.bucket) and self.spool.is_stored(number)

    def load(self, number: int) -> Record | None:
        """A record, from the pod's volume or from S3; None when there is none.

        Raises:
            StorageError, DeadlineError: S3 could not be read.
        """
        found = self.spool.get(number)
        if found is not None or not self.bucket:
            return found
        storage = per_request_storage(GET_SECONDS, LIST_DELAYS[:1])
        try:
            body = get_bytes(storage, self.bucket, self._key(number))
        except StorageError as error:
            if error.reason is Reason.INPUT_NOT_FOUND:
                return None
            raise
        loaded: Record = json.loads(body)
        return loaded

    def flush(self, deadline: Deadline) -> int:
        """Store the remaining records until the deadline; returns how many S3 does not have."""
        delay = FIRST_DELAY_SECONDS
        while self.bucket and (left := self.spool.unstored()):
            if self._store_some(left):
                continue
            if deadline.remaining() <= delay:
                warn("records-lost", executions=left[:10], count=len(left))
                return len(left)
            time.sleep(delay)
            delay *= 2
        return 0

    def _keep_storing(self) -> None:
        delay = FIRST_DELAY_SECONDS
        while True:
            self._wake.wait()
            self._wake.clear()
            while left := self.spool.unstored():
                if self._store_some(left):
                    delay = FIRST_DELAY_SECONDS
                    continue
                time.sleep(jitter(delay))
                delay = min(delay * 2, LONGEST_DELAY_SECONDS)

    def _store_some(self, numbers: list[int]) -> bool:
        """Store the oldest of them; False when S3 did not accept it."""
        with self._storing:
            record = self.spool.get(numbers[0])
            if record is None or self.spool.is_stored(numbers[0]):
                return True
            return self._put(record, self._quick)

    def _key(self, number: int) -> str:
        return self.root + names.execution_object(self.request_id, number)

    def _put(self, record: Record, storage: "Storage") -> bool:
        number = record["execution_num"]
        body = json.dumps(record, ensure_ascii=False).encode(errors="replace")
        try:
            storage.put_bytes(self.bucket, self._key(number), body, "application/json")
        except (StorageError, DeadlineError) as error:
            if not self._unavailable:  # log once per outage
                warn("record-not-stored", execution=number, detail=error)
            self._unavailable = True
            return False
        if self._unavailable:
            log("records-stored-again", execution=number)
        self._unavailable = False
        self.spool.mark_stored(number)
        return True
