"""One record per execution: on the pod's own volume at once, and in S3 before the answer is sent.

When S3 is away the answer does not wait for it: the record is stored in the background, again and
again, and a last time at the session's end.
"""

import json
import random
import re
import threading
import time
from typing import TYPE_CHECKING, Final

from nanogrid import names
from nanogrid.reasons import Reason
from nanogrid_executor.clock import Deadline, DeadlineError
from nanogrid_executor.log import log
from nanogrid_executor.s3_errors import StorageError
from nanogrid_executor.session.spool import Record, Spool
from nanogrid_executor.session.storage import lasting_storage

if TYPE_CHECKING:
    from nanogrid_executor.s3 import Storage

PUT_SECONDS: Final = 3.0  # an answer waits for S3 as long as this and no longer
FIRST_DELAY_SECONDS: Final = 1.0
LONGEST_DELAY_SECONDS: Final = 30.0
LIST_DELAYS: Final = (1.0, 2.0, 4.0)
GET_SECONDS: Final = 30.0
_KEY: Final = re.compile(r"execution_(\d+)\.json")


class Records:
    """The records of one session; safe to use from any thread."""

    def __init__(self, bucket: str, request_id: str, spool: Spool) -> None:
        self.bucket = bucket
        self.request_id = request_id
        self.spool = spool
        self._quick = lasting_storage(PUT_SECONDS)
        self._wake = threading.Event()
        self._away = False
        self._storing = threading.Lock()

    def start(self) -> None:
        """Store in the background what could not be stored at once."""
        if self.bucket:
            threading.Thread(target=self._keep_storing, name="records", daemon=True).start()
            if self.spool.unstored():
                self._wake.set()

    def last_in_s3(self) -> int:
        """The highest number of a record that S3 has.

        Raises:
            StorageError, DeadlineError: S3 did not say.
        """
        if not self.bucket:
            return 0
        storage = lasting_storage(PUT_SECONDS, LIST_DELAYS)
        prefix = names.session_prefix(self.request_id) + names.SESSION_DEBUG
        keys = [item.key for item in storage.listing(self.bucket, prefix)]
        matches = [_KEY.fullmatch(key.rsplit("/", 1)[-1]) for key in keys]
        return max((int(match[1]) for match in matches if match), default=0)

    def keep(self, record: Record) -> None:
        """Write the record to the pod's volume; a failure is logged, S3 may still take it."""
        try:
            self.spool.put(record["execution_num"], record)
        except OSError as error:
            log("record-not-kept", execution=record["execution_num"], error=error)

    def store(self, record: Record) -> bool:
        """Store the record in S3; False when that did not work now and goes on in the background.

        Never takes longer than ``PUT_SECONDS`` or so.
        """
        if not self.bucket:
            return False
        if self._put(record, self._quick):
            return True
        self._wake.set()
        return False

    def recorded(self, number: int) -> bool:
        """Whether S3 has the record of an execution that is over."""
        return bool(self.bucket) and self.spool.is_stored(number)

    def load(self, number: int) -> Record | None:
        """A record, from the pod's volume or from S3; None when there is none.

        Raises:
            StorageError, DeadlineError: S3 did not say.
        """
        found = self.spool.get(number)
        if found is not None or not self.bucket:
            return found
        from nanogrid_executor.session.download import get_bytes

        storage = lasting_storage(GET_SECONDS, LIST_DELAYS[:1])
        try:
            body = get_bytes(storage, self.bucket, self._key(number))
        except StorageError as error:
            if error.reason is Reason.INPUT_NOT_FOUND:
                return None
            raise
        loaded: Record = json.loads(body)
        return loaded

    def flush(self, deadline: Deadline) -> int:
        """Store what is left, until the deadline; how many could not be."""
        delay = FIRST_DELAY_SECONDS
        while self.bucket and (left := self.spool.unstored()):
            if self._store_some(left):
                continue
            if deadline.remaining() <= delay:
                log("records-lost", executions=left[:10], count=len(left))
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
                time.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311 jitter
                delay = min(delay * 2, LONGEST_DELAY_SECONDS)

    def _store_some(self, numbers: list[int]) -> bool:
        """Store the oldest of them; False when S3 did not take it."""
        with self._storing:
            record = self.spool.get(numbers[0])
            if record is None or self.spool.is_stored(numbers[0]):
                return True
            return self._put(record, self._quick)

    def _key(self, number: int) -> str:
        return names.execution_object(self.request_id, number)

    def _put(self, record: Record, storage: "Storage") -> bool:
        number = record["execution_num"]
        body = json.dumps(record, ensure_ascii=False).encode(errors="replace")
        try:
            storage.put_bytes(self.bucket, self._key(number), body, "application/json")
        except (StorageError, DeadlineError) as error:
            if not self._away:  # once per outage
                log("record-not-stored", execution=number, message=error)
            self._away = True
            return False
        if self._away:
            log("records-stored-again", execution=number)
        self._away = False
        self.spool.mark_stored(number)
        return True
