"""ZIP archives that somebody built to hurt: names to builders, and the reason of each refusal."""

import io
import os
import random
import stat
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable

from nanogrid.reasons import Reason

Entry = tuple[str | zipfile.ZipInfo, bytes]
END = b"PK\x05\x06"
CENTRAL = b"PK\x01\x02"
LOCAL = b"PK\x03\x04"
MEGABYTE = 1024 * 1024


def make(*entries: Entry, compression: int = zipfile.ZIP_DEFLATED, level: int = 6) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", compression) as opened:
        warnings.simplefilter("ignore")  # of duplicate names
        for name, body in entries:
            opened.writestr(name, body, compresslevel=level)
    return buffer.getvalue()


VALID = make(("main.py", b"print(1)"))


def special(name: str, mode: int, body: bytes = b"", system: int = 3) -> Entry:
    info = zipfile.ZipInfo(name)
    info.create_system = system
    info.external_attr = mode << 16
    return info, body


def renamed(old: bytes, new: bytes) -> bytes:
    """An archive whose entry has a name that zipfile would not write."""
    assert len(old) == len(new)
    return make((old.decode(), b"x")).replace(old, new)


def patched(data: bytes, local: int, central: int, value: bytes) -> bytes:
    """The first entry's two headers changed at the given offsets; below 0 leaves one alone."""
    changed = bytearray(data)
    if local >= 0:
        changed[local : local + len(value)] = value
    if central >= 0:
        at = data.index(CENTRAL) + central
        changed[at : at + len(value)] = value
    return bytes(changed)


def with_flag(bit: int) -> bytes:
    return patched(VALID, 6, 8, struct.pack("<H", bit))


def method(number: int) -> bytes:
    return patched(VALID, 8, 10, struct.pack("<H", number))


def damaged() -> bytes:
    body = random.Random(1).randbytes(1000)
    data = bytearray(make(("main.py", body), compression=zipfile.ZIP_STORED))
    data[100] ^= 0xFF
    return bytes(data)


def broken_deflate() -> bytes:
    return bytes(patched(make(("main.py", b"text " * 300)), 40, -1, b"\xff\xff\xff\xff"))


def end_record(count: int, size: int, at: int) -> bytes:
    return struct.pack("<4s4H2LH", END, 0, 0, count, count, size, at, 0)


def overlapping() -> bytes:
    """Two directory entries over the same compressed bytes."""
    data = make(("aaaa", bytes(1000)))
    start, end = data.rindex(CENTRAL), data.rindex(END)
    record = data[start:end]
    directory = record + record.replace(b"aaaa", b"bbbb")
    return data[:start] + directory + end_record(2, len(directory), start)


def central_record(name: bytes, at: int, packed: int, size: int, crc: int, how: int = 8) -> bytes:
    fixed = (CENTRAL, 20, 20, 0, how, 0, 33, crc, packed, size, len(name), 0, 0, 0, 0, 0, at)
    return struct.pack("<4s6H3L5H2L", *fixed) + name


def local_header(name: bytes, packed: int, size: int, crc: int, extra: bytes = b"") -> bytes:
    fixed = (LOCAL, 20, 0, 8, 0, 33, crc, packed, size, len(name), len(extra))
    return struct.pack("<4s5H3L2H", *fixed) + name + extra


def full_overlap_bomb(files: int = 250, kernel_bytes: int = 1_000_000) -> bytes:
    """Many entries that all are the one local file (Fifield, "A better zip bomb")."""
    body = bytes(kernel_bytes)
    packer = zlib.compressobj(9, wbits=-15)
    packed = packer.compress(body) + packer.flush()
    head = local_header(b"0000", len(packed), len(body), zlib.crc32(body))
    data = head + packed
    directory = b"".join(
        central_record(b"%04d" % n, 0, len(packed), len(body), zlib.crc32(body))
        for n in range(files)
    )
    return data + directory + end_record(files, len(directory), len(data))


def quoted_overlap_bomb(files: int = 250, kernel_bytes: int = 1_000_000) -> bytes:
    """Each file's data begins with the next file's header, quoted as a stored deflate block."""
    body = bytes(kernel_bytes)
    packer = zlib.compressobj(9, wbits=-15)
    packed = packer.compress(body) + packer.flush()
    data, plain = packed, body
    headers: list[tuple[bytes, int, int, int]] = []
    for number in reversed(range(files)):
        name = b"%04d" % number
        header = local_header(name, len(data), len(plain), zlib.crc32(plain))
        headers.append((name, len(data), len(plain), zlib.crc32(plain)))
        quote = struct.pack("<BHH", 0, len(header), len(header) ^ 0xFFFF)
        total = header + data
        data = quote + total if number else total
        plain = header + plain
    directory = b""
    at = 0
    for name, size, length, crc in reversed(headers):
        directory += central_record(name, at, size, length, crc)
        at += 30 + len(name) + 5
    return data + directory + end_record(files, len(directory), len(data))


def extra_field_overlap() -> bytes:
    """The second local header hides in the extra field of the first."""
    packed = zlib.compress(bytes(1000), 9)[2:-4]
    crc = zlib.crc32(bytes(1000))
    inner = local_header(b"bbbb", len(packed), 1000, crc)
    outer = local_header(b"aaaa", len(packed), 1000, crc, struct.pack("<HH", 9, len(inner)) + inner)
    data = outer + packed
    directory = central_record(b"aaaa", 0, len(packed), 1000, crc)
    directory += central_record(b"bbbb", 38, len(packed), 1000, crc)
    return data + directory + end_record(2, len(directory), len(data))


def into_the_directory() -> bytes:
    """An entry whose bytes reach into the directory of entries."""
    data = make(("main.py", b"x" * 50), compression=zipfile.ZIP_STORED)
    return patched(data, 18, 20, struct.pack("<L", 80))


def lying_size(size: int) -> bytes:
    """A directory that says another size than the 1,000 bytes that come out."""
    return patched(make(("main.py", bytes(1000))), -1, 24, struct.pack("<L", size))


def many(count: int) -> bytes:
    return make(*((f"{number}", b"") for number in range(count)))


def a_million() -> bytes:
    directory = central_record(b"x", 0, 0, 0, 0, 0) * 1_000_000
    return directory + end_record(16_960, len(directory), 0)


def zip64(count: int, directory_bytes: int, classic_count: int = 1) -> bytes:
    """A modest classic end record behind a ZIP64 one that is believed instead."""
    start, end = VALID.index(CENTRAL), VALID.rindex(END)
    record = struct.pack(
        "<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, directory_bytes, start
    )
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)
    return VALID[:end] + record + locator + end_record(classic_count, end - start, start)


def zip64_without_record() -> bytes:
    end = VALID.rindex(END)
    return VALID[:end] + struct.pack("<4sLQL", b"PK\x06\x07", 0, 0, 1) + VALID[end:]


def zip64_size(size: int) -> bytes:
    """An entry whose ZIP64 extra field says how large it is."""
    name = b"main.py"
    extra = struct.pack("<HHQ", 1, 8, size)
    packed = zlib.compress(b"x", 9)[2:-4]
    crc = zlib.crc32(b"x")
    data = local_header(name, len(packed), 1, crc) + packed
    fixed = (CENTRAL, 45, 45, 0, 8, 0, 33, crc, len(packed), 0xFFFFFFFF, len(name), len(extra))
    directory = struct.pack("<4s6H3L5H2L", *fixed, 0, 0, 0, 0, 0) + name + extra
    return data + directory + end_record(1, len(directory), len(data))


def short_zip64_extra() -> bytes:
    return zip64_size(5).replace(struct.pack("<HH", 1, 8), struct.pack("<HH", 1, 4))


def ratio_bomb() -> bytes:
    """300 MB of zeros in 300 kB."""
    info = zipfile.ZipInfo("zeros")
    info.compress_type = zipfile.ZIP_DEFLATED
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened, opened.open(info, "w") as file:
        for _ in range(300):
            file.write(bytes(MEGABYTE))
    return buffer.getvalue()


def many_medium_files() -> bytes:
    """600 times 1 MB of zeros: no file is large, all together are."""
    body = bytes(MEGABYTE)
    return make(*((f"{number}", body) for number in range(600)), level=1)


def offset_beyond_the_end() -> bytes:
    return patched(VALID, -1, 42, struct.pack("<L", 0x7FFFFFFF))


def other_local_name() -> bytes:
    return VALID.replace(b"main.py", b"evil.py", 1)


def bad(name: str) -> Callable[[], bytes]:
    return lambda: make((name, b"x"))


def kind(mode: int, body: bytes = b"") -> Callable[[], bytes]:
    return lambda: make(special("x", mode, body))


UNSAFE, CORRUPT = Reason.UNSAFE_ARCHIVE, Reason.CORRUPT_ARCHIVE
EMPTY, LARGE = Reason.EMPTY_ARCHIVE, Reason.ARCHIVE_TOO_LARGE

REFUSED: dict[str, tuple[Callable[[], bytes], Reason]] = {
    "34 bytes: no entry, comment": (lambda: END + bytes(16) + b"\x0c\x00twelve bytes", EMPTY),
    "22 bytes: no entry": (lambda: END + bytes(18), EMPTY),
    "folders only": (lambda: make(("a/", b""), ("a/b/", b"")), EMPTY),
    "34 bytes of text": (lambda: b"x" * 34, CORRUPT),
    "no bytes": (lambda: b"", CORRUPT),
    "tar": (lambda: bytes(10240), CORRUPT),
    "gzip": (lambda: b"\x1f\x8b\x08" + bytes(100), CORRUPT),
    "end record alone, counting one": (lambda: end_record(1, 46, 0), CORRUPT),
    "cut off": (lambda: VALID[:-30], CORRUPT),
    "cut in front": (lambda: VALID[20:], CORRUPT),
    "cut inside the end record": (lambda: VALID[:-5], CORRUPT),
    "wrong CRC": (damaged, CORRUPT),
    "broken deflate stream": (broken_deflate, CORRUPT),
    "unknown compression": (lambda: method(99), CORRUPT),
    "bzip2": (lambda: make(("a", b"x" * 99), compression=zipfile.ZIP_BZIP2, level=9), CORRUPT),
    "LZMA": (lambda: make(("a", b"x" * 99), compression=zipfile.ZIP_LZMA), CORRUPT),
    "deflate64": (lambda: method(9), CORRUPT),
    "size too small": (lambda: lying_size(10), CORRUPT),
    "size too large": (lambda: lying_size(5000), CORRUPT),
    "offset beyond the end": (offset_beyond_the_end, CORRUPT),
    "other name in the local header": (other_local_name, CORRUPT),
    "local header overwritten": (lambda: patched(VALID, 0, -1, b"XXXX"), CORRUPT),
    "central header overwritten": (lambda: patched(VALID, -1, 0, b"XXXX"), CORRUPT),
    "absolute": (bad("/etc/passwd"), UNSAFE),
    "two slashes in front": (bad("//host/share"), UNSAFE),
    "drive": (bad("C:/x"), UNSAFE),
    "drive without a slash": (bad("C:x"), UNSAFE),
    "parent": (bad("../x"), UNSAFE),
    "parent inside": (bad("a/../../x"), UNSAFE),
    "parent at the end": (bad("a/.."), UNSAFE),
    "parent that stays inside": (bad("a/../main.py"), UNSAFE),
    "parent folder": (lambda: make(("../", b""), ("main.py", b"")), UNSAFE),
    "many parents": (bad("../" * 30 + "etc/cron.d/x"), UNSAFE),
    "dot": (bad("./main.py"), UNSAFE),
    "only a dot": (bad("."), UNSAFE),
    "empty part": (bad("a//b"), UNSAFE),
    "only slashes": (lambda: make(("//", b""), ("main.py", b"")), UNSAFE),
    "backslash": (lambda: renamed(b"a.b.c", b"a\\b.c"), UNSAFE),
    "backslash parent": (lambda: renamed(b"...main.py", b"..\\main.py"), UNSAFE),
    "NUL": (lambda: renamed(b"main.py.txt", b"main.py\0txt"), UNSAFE),
    "newline": (bad("a\nb"), UNSAFE),
    "carriage return": (bad("a\rb"), UNSAFE),
    "escape sequence": (bad("a\x1b[2J"), UNSAFE),
    "DEL": (bad("a\x7f"), UNSAFE),
    "right-to-left override": (bad("a\u202etxt.exe"), UNSAFE),
    "line separator": (bad("a\u2028b"), UNSAFE),
    "symbolic link": (kind(stat.S_IFLNK | 0o777, b"/etc/passwd"), UNSAFE),
    "relative symbolic link": (kind(stat.S_IFLNK | 0o777, b"../../run"), UNSAFE),
    "link, then through it": (
        lambda: make(special("a", stat.S_IFLNK | 0o777, b"/tmp"), ("a/x", b"x")),
        UNSAFE,
    ),
    "file, then a link of its name": (
        lambda: make(("a", b"x"), special("a", stat.S_IFLNK | 0o777, b"/tmp")),
        UNSAFE,
    ),
    "character device": (kind(stat.S_IFCHR), UNSAFE),
    "block device": (kind(stat.S_IFBLK), UNSAFE),
    "FIFO": (kind(stat.S_IFIFO), UNSAFE),
    "socket": (kind(stat.S_IFSOCK), UNSAFE),
    "unknown kind": (kind(0o150000), UNSAFE),
    "encrypted": (lambda: with_flag(0x1), UNSAFE),
    "strongly encrypted": (lambda: with_flag(0x41), UNSAFE),
    "duplicate": (lambda: make(("a", b"1"), ("a", b"2")), UNSAFE),
    "case clash": (lambda: make(("A.py", b""), ("a.PY", b"")), UNSAFE),
    "case clash of sharp s": (lambda: make(("stra\xdfe", b""), ("STRASSE", b"")), UNSAFE),
    "case clash of a folder": (lambda: make(("Lib", b""), ("lib/x", b"")), UNSAFE),
    "file and folder": (lambda: make(("a", b""), ("a/b", b"")), UNSAFE),
    "folder and file": (lambda: make(("a/", b""), ("A", b"")), UNSAFE),
    "overlap": (overlapping, UNSAFE),
    "full overlap": (lambda: full_overlap_bomb(50, 1000), UNSAFE),
    "full overlap bomb": (full_overlap_bomb, LARGE),
    "quoted overlap": (lambda: quoted_overlap_bomb(50, 1000), UNSAFE),
    "quoted overlap bomb": (quoted_overlap_bomb, LARGE),
    "full overlap bomb of 10,000": (lambda: full_overlap_bomb(10_000, 1000), UNSAFE),
    "header in an extra field": (extra_field_overlap, UNSAFE),
    "into the directory": (into_the_directory, UNSAFE),
    "long name": (bad("x" * 256), UNSAFE),
    "long Korean name": (bad("가" * 86), UNSAFE),
    "64 K name": (bad("x" * 65000), UNSAFE),
    "deep": (bad("d/" * 40 + "f"), UNSAFE),
    "30,000 deep": (bad("d/" * 30_000 + "f"), UNSAFE),
    "10,001 entries": (lambda: many(10_001), LARGE),
    "a million entries": (a_million, LARGE),
    "ratio": (ratio_bomb, LARGE),
    "many medium files": (many_medium_files, LARGE),
    "gigabytes announced": (lambda: lying_size(0xFFFFFFF0), LARGE),
    "zip64: a size of petabytes": (lambda: zip64_size(1 << 50), LARGE),
    "zip64: a size of 2^64 - 1": (lambda: zip64_size((1 << 64) - 1), LARGE),
    "zip64: a billion entries": (lambda: zip64(1_000_000_000, 100), LARGE),
    "zip64: a directory of terabytes": (lambda: zip64(1, 1 << 42), LARGE),
    "zip64: a record that is not there": (zip64_without_record, CORRUPT),
    "zip64: a field that is cut off": (short_zip64_extra, CORRUPT),
    "zip64: a directory of 3 MB in 200 bytes": (lambda: zip64(1, 3_000_000), CORRUPT),
    "random bytes with an end record": (
        lambda: random.Random(7).randbytes(5000) + end_record(3, 300, 4000),
        CORRUPT,
    ),
}


def nested() -> bytes:
    """A bomb in a ZIP in a ZIP: unpacking one level gives one small file."""
    return make(("inner.zip", make(("bomb.zip", ratio_bomb()))), ("main.py", b"x"))


def write(path: "os.PathLike[str]", data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
