"""The error that ends a release."""


class ReleaseError(Exception):
    """A release that cannot be built; the message says why, the hint how to fix it."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(f"{message}\n  hint: {hint}")
