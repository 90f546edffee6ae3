"""S3 for a process that lives long: one client whose every request has the same time."""

from typing import TYPE_CHECKING

from nanogrid_executor.clock import Deadline

if TYPE_CHECKING:
    from nanogrid_executor.s3 import Storage


class EachRequest(Deadline):
    """A deadline that begins anew with each request, so that connections can be kept for long."""

    def remaining(self) -> float:
        """All of the time, always."""
        return self.seconds

    def check(self) -> None:
        """There is always time for another request."""


def lasting_storage(seconds: float, delays: tuple[float, ...] = ()) -> "Storage":
    """A client whose requests end after so many seconds; obstore is imported at the first."""
    from nanogrid_executor.s3 import Storage

    return Storage(EachRequest(seconds), delays)
