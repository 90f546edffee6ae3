"""How the name of a ZIP entry is read: its encoding, and its path.

The format has one flag: the name is UTF-8. Without it the encoding is whatever the program used.
The first rule that applies wins:

1. The Unicode Path field (0x7075) of Info-ZIP and 7-Zip, if it belongs to the name.
2. UTF-8, if the bytes are valid: macOS writes it without the flag.
3. cp949, only if all bytes above 0x7F are double bytes of KS X 1001 and give Hangul: Windows in
   Korean writes it.
4. cp437, which the specification names. Every byte has a character there.

Other encodings are not guessed: the same bytes are text in Shift-JIS, GBK and cp866, and nothing
tells which one is right. :attr:`EntryName.guess` says which of 3 and 4 was used.
"""

import re
import struct
import zipfile
import zlib
from typing import Final, NamedTuple

from nanogrid.archive.limits import MAX_DEPTH, MAX_NAME_BYTES, MAX_PATH_BYTES
from nanogrid.file_names import character_fault

UNIX: Final = 3  # create_system of entries whose external_attr holds a Unix mode
WINDOWS: Final = (0, 10, 14)  # of MS-DOS, NTFS and VFAT
CP437: Final = "cp437"
CP949: Final = "cp949"
_UTF8_NAME: Final = 0x800
_UNICODE_PATH: Final = 0x7075
_UNICODE_PATH_HEAD: Final = struct.Struct("<BL")  # version, CRC-32 of the name in the header
_FIELD_HEAD: Final = struct.Struct("<HH")
_DRIVE: Final = re.compile(r"[A-Za-z]:")
_KS_X_1001: Final = range(0xA1, 0xFF)  # both bytes of a character
_HANGUL: Final = range(0xAC00, 0xD7A4)


class EntryName(NamedTuple):
    """The name of an entry as text, and the encoding that had to be guessed for it, or None."""

    text: str
    guess: str | None = None


def read_name(info: zipfile.ZipInfo) -> EntryName:
    """The name of an entry, not yet checked."""
    stored = info.orig_filename  # zipfile cuts `filename` at a NUL
    if info.flag_bits & _UTF8_NAME or stored.isascii():
        return EntryName(stored)
    raw = stored.encode(CP437)  # zipfile has decoded the bytes so; no byte is lost
    if (unicode_path := _unicode_path(info.extra, raw)) is not None:
        return EntryName(unicode_path)
    try:
        return EntryName(raw.decode())
    except UnicodeDecodeError:
        korean = _korean(raw)
    return EntryName(stored, CP437) if korean is None else EntryName(korean, CP949)


def _unicode_path(extra: bytes, raw: bytes) -> str | None:
    """The name in the Unicode Path field; None without one, or if it is of another name."""
    while len(extra) >= _FIELD_HEAD.size:
        kind, size = _FIELD_HEAD.unpack_from(extra)
        field = extra[_FIELD_HEAD.size : _FIELD_HEAD.size + size]
        extra = extra[_FIELD_HEAD.size + size :]
        if kind != _UNICODE_PATH or len(field) <= _UNICODE_PATH_HEAD.size:
            continue
        version, checksum = _UNICODE_PATH_HEAD.unpack_from(field)
        if version != 1 or checksum != zlib.crc32(raw):
            continue
        try:
            return field[_UNICODE_PATH_HEAD.size :].decode()
        except UnicodeDecodeError:
            continue
    return None


def _korean(raw: bytes) -> str | None:
    """The text of a name in cp949 without its extension; None if it is no such name."""
    at = 0
    while at < len(raw):
        if raw[at] < 0x80:
            at += 1
            continue
        pair = raw[at : at + 2]
        if len(pair) < 2 or any(byte not in _KS_X_1001 for byte in pair):
            return None
        at += 2
    try:
        text = raw.decode("euc_kr")
    except UnicodeDecodeError:
        return None
    return text if any(ord(character) in _HANGUL for character in text) else None


def normal_path(info: zipfile.ZipInfo, name: EntryName) -> tuple[str, bool]:
    """A name without empty and ``.`` parts, and whether it is that of a folder; not yet checked.

    A backslash is a separator in entries of Windows programs that do not follow the format. After a
    guess of cp437 it stays, and is refused: it may be half of a character in Shift-JIS or GBK. A
    leading slash stays, and is refused.
    """
    text = name.text
    if info.create_system in WINDOWS and name.guess != CP437:
        text = text.replace("\\", "/")
    parts = text.split("/")
    path = "/".join(part for part in parts if part not in ("", "."))
    absolute = "/" if text.startswith("/") else ""
    return absolute + path, len(parts) > 1 and parts[-1] in ("", ".")


def path_fault(path: str) -> str:
    """Why the relative path of a file or folder is refused; empty if it is not.

    The client asks this about the files that it packs, so that it packs no archive that is refused.
    """
    if fault := character_fault(path):
        return fault
    if "\\" in path:
        return "has a backslash in its name"
    if path.startswith("/"):
        return "is absolute"
    if _DRIVE.match(path):
        return "begins with a drive letter"
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts):
        return "has an empty, '.' or '..' part in its name"
    long = len(path.encode()) > MAX_PATH_BYTES or len(parts) > MAX_DEPTH
    if long or any(len(part.encode()) > MAX_NAME_BYTES for part in parts):
        return "has a name that is too long or too deep"
    return ""
