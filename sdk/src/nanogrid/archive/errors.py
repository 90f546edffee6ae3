"""The refusal of an archive."""

from nanogrid.reasons import Reason


class ArchiveError(Exception):
    """The archive is refused.

    Args:
        reason: the reason code.
        message: what is wrong, for people.
        found: the same for programs, as JSON values: ``entry``, ``entries``, ``files`` and others.
    """

    def __init__(self, reason: Reason, message: str, **found: object) -> None:
        super().__init__(message)
        self.reason = reason
        self.found = found
