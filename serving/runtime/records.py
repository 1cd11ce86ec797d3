"""TFRecord files, without TensorFlow: length, checksum, data, checksum."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

_POLYNOMIAL = 0x82F63B78  # CRC-32C, bits reversed
_MASK_DELTA = 0xA282EAD8


def _make_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (_POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return tuple(table)


_TABLE = _make_table()


def masked_crc(data: bytes) -> int:
    """The checksum of a record: CRC-32C, rotated and shifted by a constant."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF


def write_records(path: str | os.PathLike, records: Iterable[bytes]) -> None:
    """Writes a file of records."""
    with open(path, "wb") as file:
        for record in records:
            length = struct.pack("<Q", len(record))
            file.write(length + struct.pack("<I", masked_crc(length)))
            file.write(record + struct.pack("<I", masked_crc(record)))


def read_records(path: str | os.PathLike) -> Iterator[bytes]:
    """The records of a file.

    Raises:
        ValueError: if the file is cut off or damaged.
    """
    data = Path(path).read_bytes()
    position = 0
    while position < len(data):
        head = data[position : position + 12]
        if len(head) < 12 or struct.unpack("<I", head[8:])[0] != masked_crc(head[:8]):
            raise ValueError(f"{path} is damaged at byte {position}")
        (length,) = struct.unpack("<Q", head[:8])
        record = data[position + 12 : position + 12 + length]
        tail = data[position + 12 + length : position + 16 + length]
        if len(tail) < 4 or struct.unpack("<I", tail)[0] != masked_crc(record):
            raise ValueError(f"{path} is damaged at byte {position}")
        yield record
        position += 16 + length
