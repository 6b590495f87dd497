"""Whether a PNG file is complete. GDAL's reader of PNG files takes a file that was cut off for a whole one."""

import zlib
from pathlib import Path
from typing import BinaryIO

SIGNATURE = b"\x89PNG\r\n\x1a\n"
PIECE_BYTES = 2**20


def is_damaged_png(path: Path) -> bool:
    """Whether the file is a PNG that is cut off, or one of its chunks differs from its checksum.

    The file is read to its end. Files of other formats are not damaged PNGs.
    """
    with path.open("rb") as file:
        if file.read(len(SIGNATURE)) != SIGNATURE:
            return False
        kind = b""
        while kind != b"IEND":
            length, kind = int.from_bytes(file.read(4)), file.read(4)
            if len(kind) < 4 or _checksum(file, length, kind) != file.read(4):
                return True
    return False


def _checksum(file: BinaryIO, length: int, kind: bytes) -> bytes:
    """Checksum of a chunk whose content is next in the file. Content that ends early changes it."""
    checksum = zlib.crc32(kind)
    while length > 0 and (piece := file.read(min(length, PIECE_BYTES))):
        checksum, length = zlib.crc32(piece, checksum), length - len(piece)
    return checksum.to_bytes(4)
