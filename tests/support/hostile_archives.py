"""Builders of ZIP archives, honest and hostile; :mod:`support.archive_cases` is their table."""

import functools
import io
import random
import struct
import warnings
import zipfile
import zlib

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
    """An archive with an entry name that zipfile would not write."""
    assert len(old) == len(new)
    return make((old.decode(), b"x")).replace(old, new)


def patched(data: bytes, local: int, central: int, value: bytes) -> bytes:
    """Change the two headers of the first entry at these offsets; below 0 keeps a header."""
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


def stored_entry(
    name: bytes, *, flags: int = 0, system: int = 0, extra: bytes = b"", attr: int = 0
) -> tuple[bytes, bytes]:
    """The local and the central header of an empty file, with its name as any program writes it."""
    local = struct.pack("<4s5H3L2H", LOCAL, 20, flags, 0, 0, 33, 0, 0, 0, len(name), 0) + name
    fixed = (CENTRAL, 20 | system << 8, 20, flags, 0, 0, 33, 0, 0, 0, len(name), len(extra))
    return local, struct.pack("<4s6H3L5H2L", *fixed, 0, 0, 0, attr, 0) + name + extra


def as_written(*entries: tuple[bytes, bytes]) -> bytes:
    """An archive of entries of :func:`stored_entry`."""
    data = directory = b""
    for local, central in entries:
        directory += central[:42] + struct.pack("<L", len(data)) + central[46:]
        data += local
    return data + directory + end_record(len(entries), len(directory), len(data))


def unicode_path(raw: bytes, name: str, version: int = 1) -> bytes:
    """The Unicode Path field of Info-ZIP, for an entry whose header has the name ``raw``."""
    body = struct.pack("<BL", version, zlib.crc32(raw)) + name.encode()
    return struct.pack("<HH", 0x7075, len(body)) + body


def full_overlap_bomb(files: int = 250, kernel_bytes: int = 1_000_000) -> bytes:
    """Many entries that share one local file (Fifield, "A better zip bomb")."""
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
    """The data of each file begins with the next header, quoted as a stored deflate block."""
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
    """The second local header is inside the extra field of the first."""
    packed = zlib.compress(bytes(1000), 9)[2:-4]
    crc = zlib.crc32(bytes(1000))
    inner = local_header(b"bbbb", len(packed), 1000, crc)
    outer = local_header(b"aaaa", len(packed), 1000, crc, struct.pack("<HH", 9, len(inner)) + inner)
    data = outer + packed
    directory = central_record(b"aaaa", 0, len(packed), 1000, crc)
    directory += central_record(b"bbbb", 38, len(packed), 1000, crc)
    return data + directory + end_record(2, len(directory), len(data))


def into_the_directory() -> bytes:
    """An entry whose bytes reach into the directory."""
    data = make(("main.py", b"x" * 50), compression=zipfile.ZIP_STORED)
    return patched(data, 18, 20, struct.pack("<L", 80))


def lying_size(size: int) -> bytes:
    """The directory says ``size``; the content has 1,000 bytes."""
    return patched(make(("main.py", bytes(1000))), -1, 24, struct.pack("<L", size))


@functools.cache
def many(count: int) -> bytes:
    return make(*((f"{number}", b"") for number in range(count)))


def a_million() -> bytes:
    directory = central_record(b"x", 0, 0, 0, 0, 0) * 1_000_000
    return directory + end_record(16_960, len(directory), 0)


def a_million_announced_as_one() -> bytes:
    """A second end record starts inside the first: a search from the back finds it instead."""
    directory = central_record(b"x", 0, 0, 0, 0, 0) * 1_000_000
    disks = END  # readers ignore the two numbers of disks
    return directory + struct.pack("<4s4s2H2LH", END, disks, 1, 1, len(directory), 0, 0)


def thousands_announced_as_one() -> bytes:
    """As many entries as a directory of 4 MiB holds."""
    directory = central_record(b"x", 0, 0, 0, 0, 0) * 89_000
    return directory + end_record(1, len(directory), 0)


def zip64(count: int, directory_bytes: int, classic_count: int = 1) -> bytes:
    """A modest classic end record after a ZIP64 record, which zipfile believes instead."""
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
    """An entry with its size in a ZIP64 extra field."""
    name = b"main.py"
    extra = struct.pack("<HHQ", 1, 8, size)
    packed = zlib.compress(b"x", 9)[2:-4]
    crc = zlib.crc32(b"x")
    data = local_header(name, len(packed), 1, crc) + packed
    fixed = (CENTRAL, 45, 45, 0, 8, 0, 33, crc, len(packed), 0xFFFFFFFF, len(name), len(extra))
    directory = struct.pack("<4s6H3L5H2L", *fixed, 0, 0, 0, 0, 0) + name + extra
    return data + directory + end_record(1, len(directory), len(data))


def zip64_offset(offset: int) -> bytes:
    """An entry with the offset of its local header in a ZIP64 extra field."""
    extra = struct.pack("<HHQ", 1, 8, offset)
    fixed = (CENTRAL, 45, 45, 0, 0, 0, 33, 0, 0, 0, 7, len(extra), 0, 0, 0, 0, 0xFFFFFFFF)
    directory = struct.pack("<4s6H3L5H2L", *fixed) + b"main.py" + extra
    return directory + end_record(1, len(directory), 0)


def with_comment(data: bytes, size: int, trailing: int = 0) -> bytes:
    """An archive with a comment of ``size`` bytes, and bytes after the comment."""
    return data[:-2] + struct.pack("<H", size) + bytes([1]) * (size + trailing)


def short_zip64_extra() -> bytes:
    return zip64_size(5).replace(struct.pack("<HH", 1, 8), struct.pack("<HH", 1, 4))


def deflated_zeros(megabytes: int, level: int) -> tuple[bytes, int]:
    """Compressed zeros and their checksum: one block again and again, which saves a second."""
    block, crc = bytes(MEGABYTE), 0
    packer = zlib.compressobj(level, wbits=-15)
    packed = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    for _ in range(megabytes):
        crc = zlib.crc32(block, crc)
    return packed * megabytes + packer.flush(), crc


def ratio_bomb() -> bytes:
    """300 MB of zeros in 300 kB."""
    packed, crc = deflated_zeros(300, level=6)
    size = 300 * MEGABYTE
    data = local_header(b"zeros", len(packed), size, crc) + packed
    directory = central_record(b"zeros", 0, len(packed), size, crc)
    return data + directory + end_record(1, len(directory), len(data))


def many_medium_files() -> bytes:
    """600 files of 1 MB of zeros: together they are too large, and their ratio is not."""
    packed, crc = deflated_zeros(1, level=1)
    data = directory = b""
    for number in range(600):
        name = b"%d" % number
        directory += central_record(name, len(data), len(packed), MEGABYTE, crc)
        data += local_header(name, len(packed), MEGABYTE, crc) + packed
    return data + directory + end_record(600, len(directory), len(data))


def offset_beyond_the_end() -> bytes:
    return patched(VALID, -1, 42, struct.pack("<L", 0x7FFFFFFF))


def other_local_name() -> bytes:
    return VALID.replace(b"main.py", b"evil.py", 1)


def nested() -> bytes:
    """A bomb in a ZIP in a ZIP: unpacking one level gives a small file."""
    return make(("inner.zip", make(("bomb.zip", ratio_bomb()))), ("main.py", b"x"))
