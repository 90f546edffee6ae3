"""A PNG image for tests, made with the standard library."""

import struct
import zlib


def png(width: int = 480, height: int = 240) -> bytes:
    """A bar chart, compressed."""
    lines = []
    for y in range(height):
        line = bytearray(b"\0")
        for x in range(width):
            bar = y > height - height * ((x // 40 * 37) % 11 + 2) / 14 and x % 40 < 30
            line += bytes((47, 111, 235)) if bar else bytes((245, 246, 248))
        lines.append(bytes(line))

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    packed = zlib.compress(b"".join(lines), 9)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    )
