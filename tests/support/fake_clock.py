"""A clock that only moves when a test moves it."""


class FakeClock:
    """A monotonic clock in seconds."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now
