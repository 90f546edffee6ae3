"""Checks an uploaded ZIP by the rules of the job's sync (:mod:`nanogrid.archive`), before it runs.

Nothing is unpacked to disk. Contents are read in chunks to verify their checksums. The job checks
the archive again.
"""

import os
import tempfile
import zipfile
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


def is_script(filename: str) -> bool:
    """Whether an uploaded file is one Python file, not a ZIP."""
    return filename.lower().endswith(".py")


def packed(script: IO[bytes], entry_point: str) -> IO[bytes]:
    """A ZIP with one Python file; the same file gives the same ZIP. The caller closes it."""
    target = tempfile.TemporaryFile()  # noqa: SIM115 the caller closes it
    # Without a date of its own, a file of the same bytes has the same checksum.
    entry = zipfile.ZipInfo(entry_point)
    entry.external_attr = 0o644 << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(target, "w") as archive_, archive_.open(entry, "w") as stored:
        for chunk in iter_chunks(script):
            stored.write(chunk)
    return target


def iter_chunks(file: IO[bytes]) -> Iterator[bytes]:
    """A file from its beginning, in chunks."""
    file.seek(0)
    while chunk := file.read(CHUNK_BYTES):
        yield chunk
