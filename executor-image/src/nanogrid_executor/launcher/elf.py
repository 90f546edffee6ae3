"""Reads what a program file of Linux (ELF) needs: the machine, and the loader.

Standard library only.
"""

import os
import struct
from typing import BinaryIO, Final

MAGIC: Final = b"\x7fELF"
HEADER_BYTES: Final = 64
PT_INTERP: Final = 3
MAX_LOADER_BYTES: Final = 4096
MACHINES: Final = {
    3: "i386", 8: "mips", 20: "ppc", 21: "ppc64", 22: "s390x", 40: "arm", 62: "x86_64",
    183: "aarch64", 243: "riscv64", 258: "loongarch64",
}  # fmt: skip


def machine(header: bytes) -> str | None:
    """The machine that the file's code is for; None when the header is incomplete."""
    if len(header) < 20:
        return None
    (number,) = struct.unpack_from(f"{_order(header)}H", header, 18)
    return MACHINES.get(number, f"machine {number}")


def loader(file: BinaryIO) -> str | None:
    """The program that loads shared libraries for this one; None: a static or a damaged file."""
    header = file.read(HEADER_BYTES)
    if len(header) < HEADER_BYTES or not header.startswith(MAGIC):
        return None
    order, wide = _order(header), header[4] == 2
    start, size, count = struct.unpack_from(
        f"{order}Q14xHH" if wide else f"{order}I10xHH", header, 32 if wide else 28
    )
    for number in range(count):
        file.seek(start + number * size)
        entry = file.read(size)
        try:
            if struct.unpack_from(f"{order}I", entry)[0] != PT_INTERP:
                continue
            if wide:
                offset, length = struct.unpack_from(f"{order}Q16xQ", entry, 8)
            else:
                offset, length = struct.unpack_from(f"{order}I8xI", entry, 4)
        except struct.error:
            return None
        file.seek(offset)
        return os.fsdecode(file.read(min(length, MAX_LOADER_BYTES)).rstrip(b"\0"))
    return None


def _order(header: bytes) -> str:
    return ">" if header[5] == 2 else "<"
