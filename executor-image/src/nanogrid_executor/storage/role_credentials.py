"""The credentials of ``s3.assumeRole`` for obstore: shared by all clients, refreshed in time.

obstore itself assumes a role only with the token of a service account. Its provider for other
roles needs boto3, which the image does not have.
"""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Final

from nanogrid.assumed_role import AssumedRole
from nanogrid_executor.clock import Deadline
from nanogrid_executor.log import log, warn
from nanogrid_executor.storage.errors import StorageError
from nanogrid_executor.storage.signature import Keys
from nanogrid_executor.storage.sts import assume

if TYPE_CHECKING:
    from obstore.store import S3Credential

EARLY_SECONDS: Final = 300.0  # before the end, like obstore; at most a third of the life
AGAIN_SECONDS: Final = 10.0  # between two tries to refresh credentials that are still valid
REQUEST_SECONDS: Final = 5.0
SHORTEST_SECONDS: Final = 0.1


class SharedCredentials:
    """The credentials of one role in this process; threads share them.

    Args:
        fetch: gets new credentials; the argument is its timeout in seconds.
        clock: seconds since the epoch.
    """

    def __init__(
        self, fetch: Callable[[float], Keys], clock: Callable[[], float] = time.time
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: Keys | None = None
        self._due = 0.0  # when to refresh them
        self._failure: StorageError | None = None
        self._failures = 0

    def get(self, seconds: float) -> tuple[Keys, float]:
        """Valid credentials, and when to ask again, in seconds since the epoch.

        Args:
            seconds: timeout of a request.

        Raises:
            StorageError: there are none.
        """
        failures = self._failures
        with self._lock:
            if self._keys is not None and self._clock() < self._due:
                return self._keys, self._due
            if self._failure is not None and self._failures != failures:
                raise self._failure  # of the thread that this one has waited for
            return self._refresh(seconds), self._due

    def _refresh(self, seconds: float) -> Keys:
        now = self._clock()
        try:
            keys = self._fetch(seconds)
        except StorageError as failure:
            old, now = self._keys, self._clock()
            if old is not None and old.expires is not None and now < old.expires:
                warn("role-refresh-failed", seconds=round(old.expires - now), error=failure)
                self._due = min(now + AGAIN_SECONDS, old.expires)
                return old
            self._failure = failure
            self._failures += 1
            raise
        life = (keys.expires or now) - now
        self._due = now + life - min(EARLY_SECONDS, life / 3)
        self._keys = keys
        log("role-assumed", seconds=round(life))
        return keys


@cache  # each storage of a session would ask STS again
def shared(role: AssumedRole) -> SharedCredentials:
    """The credentials of a role in this process."""
    return SharedCredentials(lambda seconds: assume(role, seconds))


class RoleCredentials:
    """What obstore calls for credentials: those of a role, until the deadline of a phase.

    ``failure`` is why the last call raised: obstore passes on its text only.
    """

    refresh_threshold = timedelta(0)  # `expires_at` is when to call again

    def __init__(self, role: AssumedRole, deadline: Deadline) -> None:
        self.failure: StorageError | None = None
        self._shared = shared(role)
        self._deadline = deadline

    def __call__(self) -> "S3Credential":
        """Valid credentials.

        Raises:
            StorageError: there are none; also in ``failure``.
        """
        seconds = max(SHORTEST_SECONDS, min(REQUEST_SECONDS, self._deadline.remaining()))
        try:
            keys, due = self._shared.get(seconds)
        except StorageError as failure:
            self.failure = failure
            raise
        return {
            "access_key_id": keys.access_key,
            "secret_access_key": keys.secret_key,
            "token": keys.token,
            "expires_at": datetime.fromtimestamp(due, UTC),
        }
