"""The limits of an archive. Those of :class:`Limits` depend on what the archive is for."""

import zipfile
from typing import Final

from nanogrid.record import Record

MAX_ENTRIES: Final = 10_000
MAX_DIRECTORY_BYTES: Final = 4 * 1024 * 1024
MAX_DEPTH: Final = 32  # parts of a path
MAX_NAME_BYTES: Final = 255  # of one part
MAX_PATH_BYTES: Final = 4000  # Linux takes 4,095, of which /app/ needs some
METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others cost far more to unpack


class Limits(Record):
    """How many bytes an archive may unpack to."""

    unpacked_bytes: int = 512 * 1024 * 1024
    ratio: int = 200  # unpacked to packed; typical ZIPs stay below 100, deflate reaches 1032
    ratio_free_bytes: int = 64 * 1024 * 1024  # up to here the ratio does not matter


LIMITS: Final = Limits()
