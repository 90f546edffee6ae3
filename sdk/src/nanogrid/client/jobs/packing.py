"""A folder as a ZIP: equal files give equal bytes, and so the same checksum and S3 key."""

import io
import os
import stat
import zipfile
from pathlib import Path
from typing import Final

from nanogrid import archive, names
from nanogrid.client.errors import InvalidRequest, refused_for
from nanogrid.client.local_files import Member, members, open_file

_FOLDER_MODE: Final = stat.S_IFDIR | 0o755
_FOLDER_OF_DOS: Final = 0x10


def zip_directory(folder: Path) -> bytes:
    """The ZIP of a folder, with its empty folders and without caches; executable bits are kept.

    Raises:
        InvalidRequest: the path is not a folder, the folder has no files or a member that is
            refused (:func:`nanogrid.client.local_files.members`), or its ZIP would be refused.
    """
    if not folder.is_dir():
        raise InvalidRequest(
            f"{folder} is not a directory.", f"Give a directory with {names.ENTRYPOINT} in it."
        )
    found = members(folder)
    if all(member.is_dir for member in found):
        raise InvalidRequest(f"{folder} has no files.", f"Put {names.ENTRYPOINT} into it.")
    content = zip_files(dict(map(_read, found)))
    try:
        with archive.opened(io.BytesIO(content)):
            return content
    except archive.ArchiveError as error:
        message = f"{folder} cannot be packed ({error.reason}): {error}."
        raise refused_for(error.reason, message) from error


def zip_files(files: dict[str, tuple[bytes, bool]]) -> bytes:
    """The ZIP of files: name to content and whether it is executable; a folder ends in a slash."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as opened:
        for name in sorted(files):
            content, executable = files[name]
            entry = zipfile.ZipInfo(name)  # its date is fixed: 1980
            entry.create_system = archive.UNIX
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (0o755 if executable else 0o644) << 16
            if entry.is_dir():
                entry.compress_type = zipfile.ZIP_STORED
                entry.external_attr = _FOLDER_MODE << 16 | _FOLDER_OF_DOS
            opened.writestr(entry, content)
    return buffer.getvalue()


def _read(member: Member) -> tuple[str, tuple[bytes, bool]]:
    if member.is_dir:
        return f"{member.name}/", (b"", False)
    with open_file(member.path) as file:
        executable = os.fstat(file.fileno()).st_mode & 0o111 != 0
        return member.name, (file.read(), executable)
