"""When the credentials of an assumed role are refreshed, and what happens if they cannot be."""

import subprocess
import sys
import threading

import pytest

from nanogrid import names
from nanogrid.reasons import Reason
from nanogrid_executor.storage.errors import StorageError
from nanogrid_executor.storage.role_credentials import AGAIN_SECONDS, SharedCredentials
from nanogrid_executor.storage.signature import Keys
from support.fake_sts import ARN

HOUR = 3600.0


class World:
    """A clock, and an STS that counts its answers."""

    def __init__(self, life: float = HOUR) -> None:
        self.now = 1_000_000.0
        self.life = life
        self.fetched = 0
        self.down = False
        self.credentials = SharedCredentials(self.fetch, lambda: self.now)

    def fetch(self, seconds: float) -> Keys:
        self.fetched += 1
        if self.down:
            raise StorageError(Reason.STORAGE_UNAVAILABLE, "no STS", retryable=True)
        return Keys("a", "s", f"token-{self.fetched}", self.now + self.life)

    def token(self) -> str:
        return self.credentials.get(5.0)[0].token


@pytest.mark.parametrize(("life", "before"), [(HOUR, HOUR - 301), (600.0, 399.0)])
def test_credentials_are_kept_until_shortly_before_their_end(life: float, before: float) -> None:
    world = World(life)
    assert world.token() == "token-1"
    world.now += before
    assert world.token() == "token-1"
    world.now += 2
    assert world.token() == "token-2"
    assert world.credentials.get(5.0)[1] == world.now + life - min(300, life / 3)


def test_without_an_answer_the_old_credentials_are_used_until_their_end() -> None:
    world = World()
    world.token()
    world.down = True
    world.now += HOUR - 200
    assert [world.token() for _ in range(3)] == ["token-1"] * 3
    assert world.fetched == 2, "it is not asked at each request"
    world.now += AGAIN_SECONDS
    world.token()
    assert world.fetched == 3
    world.now += 200
    with pytest.raises(StorageError, match="no STS"):
        world.token()
    world.down = False
    assert world.token() == "token-5"


def test_threads_that_wait_for_a_failed_request_do_not_repeat_it() -> None:
    begun, go = threading.Event(), threading.Event()
    calls: list[float] = []

    def fetch(seconds: float) -> Keys:
        calls.append(seconds)
        begun.set()
        assert go.wait(60)
        raise StorageError(Reason.STORAGE_UNAVAILABLE, "no STS")

    class Noticing(SharedCredentials):
        """Says when a thread has read the number of failures, and so waits."""

        waiting = threading.Semaphore(0)

        @property
        def _failures(self) -> int:
            self.waiting.release()
            return self._count

        @_failures.setter
        def _failures(self, value: int) -> None:
            self._count = value

    shared = Noticing(fetch)
    errors: list[StorageError] = []

    def ask() -> None:
        try:
            shared.get(5.0)
        except StorageError as e:
            errors.append(e)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert begun.wait(60)
    for _ in threads:
        assert shared.waiting.acquire(timeout=60)
    go.set()
    for thread in threads:
        thread.join(60)
    assert len(errors) == len(threads)
    assert calls == [5.0]


IMPORTS = """
import sys
from nanogrid_executor.storage.s3 import Storage
Storage()._store("b", False)
late = ("http.client", "nanogrid.assumed_role", "nanogrid_executor.storage.sts")
print(*(name for name in late if name in sys.modules))
"""


@pytest.mark.parametrize(("env", "loaded"), [({}, 0), ({names.ENV_S3_ROLE_ARN: ARN}, 3)])
def test_a_pod_without_a_role_does_not_pay_for_it(env: dict[str, str], loaded: int) -> None:
    given = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s", **env}
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS], env=given, capture_output=True, text=True, check=True
    )
    assert len(done.stdout.split()) == loaded
