"""What was stored of a job's outputs."""

from nanogrid import wire
from nanogrid.record import Record, field


class Stored(Record):
    """The stored output files and streams, and one line for each that was not stored.

    ``note``: what the patterns of the job leave out by mistake, as it seems.
    """

    files: list[wire.OutputFile] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    millis: int | None = None
    stream_urls: dict[str, str] = field(default_factory=dict)  # complete stdout and stderr
    lost_streams: list[str] = field(default_factory=list)
    note: str = ""

    @property
    def total_bytes(self) -> int:
        """The bytes of all stored files."""
        return sum(file.bytes for file in self.files)
