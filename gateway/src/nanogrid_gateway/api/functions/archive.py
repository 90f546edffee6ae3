"""Checks an uploaded ZIP by the rules of the job's sync (:mod:`nanogrid.archive`), before it runs.

Nothing is unpacked to disk. Contents are read in chunks to verify their checksums. The job checks
the archive again.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Final

from nanogrid import archive
from nanogrid.reasons import Reason
from nanogrid_gateway.api.errors import ApiError

CHUNK_BYTES: Final = 256 * 1024
_HINTS: Final = {
    Reason.EMPTY_ARCHIVE: "Zip the files again (zip -r code.zip .), then upload it.",
    Reason.CORRUPT_ARCHIVE: "Make the ZIP again, with stored or deflated entries.",
    Reason.UNSAFE_ARCHIVE: "Make the ZIP again without that entry.",
    Reason.ARCHIVE_TOO_LARGE: "Make it smaller; move data to S3.",
    Reason.ENTRYPOINT_NOT_FOUND: "Put it at the top level, or give entryPoint.",
}


@dataclass(frozen=True, slots=True)
class Checked:
    """The relative paths of the files in an accepted archive, and how their names were read."""

    files: list[str]
    guesses: str = ""


def check(file: IO[bytes], entry_point: str) -> Checked:
    """Accept or refuse a ZIP.

    Args:
        file: the archive, seekable.
        entry_point: the script that must be in it, at its top level or in its only folder.

    Raises:
        ApiError: 422 with the reason that the job would fail with.
    """
    size = file.seek(0, os.SEEK_END)
    try:
        with archive.opened(file) as opened:
            files = opened.files
            opened.locate(archive.entry_point_of(["python3", entry_point]))
            guesses = opened.guesses
            for entry in opened.entries:
                if not entry.is_dir:
                    for _ in opened.read(entry):
                        pass  # reading verifies
    except archive.ArchiveError as error:
        message = f"The ZIP is refused: {error}. {_HINTS[error.reason]}"
        found = {"bytes": size, **error.found}
        raise ApiError(422, error.reason, message, found=found) from error
    return Checked(files, guesses)


def iter_chunks(file: IO[bytes]) -> Iterator[bytes]:
    """The file from its beginning, in chunks."""
    file.seek(0)
    while chunk := file.read(CHUNK_BYTES):
        yield chunk
