"""Write a SAS data set (sas7bdat), for tests only, since no Python library does.

Uncompressed, 32 bits, little-endian, UTF-8, one page of metadata and pages of rows; after M. S. Shotwell, "SAS7BDAT
Database Binary Format" (vignette of the R package sas7bdat). A test holds what is written against two readers.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

_MAGIC = bytes.fromhex("000000000000000000000000c2ea8160b31411cfbd92080009c7318c181f1011")
_HEADER, _PAGE, _PAGE_HEADER, _POINTER = 1024, 65536, 24, 12
_META, _DATA = 0x0000, 0x0100
_UTF8 = 20
_MISSING = bytes.fromhex("0000000000feffff")  # the one that SAS writes as a point


def write_sas_data_set(frame: pd.DataFrame, path: Path) -> Path:
    """Write numbers as doubles and text in fields as wide as the longest."""
    columns = [_column(frame[name]) for name in frame]
    rows = [b"".join(cells) for cells in zip(*(cells for _, _, cells in columns), strict=True)]
    widths = [width for width, _, _ in columns]
    per_page = (_PAGE - _PAGE_HEADER) // sum(widths)
    blocks = [rows[start : start + per_page] for start in range(0, len(rows), per_page)]
    pages = [_metadata(list(frame), widths, [kind for _, kind, _ in columns], len(rows))]
    pages += [_page(_DATA, len(block), 0, b"".join(block)) for block in blocks]
    path.write_bytes(_header(len(pages)) + b"".join(pages))
    return path


def _column(series: pd.Series) -> tuple[int, int, list[bytes]]:
    if pd.api.types.is_numeric_dtype(series):
        return 8, 1, [_MISSING if pd.isna(value) else struct.pack("<d", value) for value in series]
    cells = [value.encode() for value in series.fillna("")]
    width = max(map(len, cells)) or 1
    return width, 2, [cell.ljust(width) for cell in cells]


def _header(pages: int) -> bytes:
    header = bytearray(_HEADER)
    header[:32] = _MAGIC
    header[32:40] = b"\x22\x22\x00\x32\x22\x01\x02\x32"  # no alignment, little-endian
    header[70] = _UTF8
    header[84:92] = b"SAS FILE"
    header[92:156] = b"TABLE".ljust(64)
    header[156:164] = b"DATA    "
    struct.pack_into("<dd", header, 164, 0.0, 0.0)
    struct.pack_into("<III", header, 196, _HEADER, _PAGE, pages)
    header[216:224] = b"9.0401M7"
    return bytes(header)


def _page(kind: int, blocks: int, subheaders: int, content: bytes) -> bytes:
    return (struct.pack("<16xHHHxx", kind, blocks, subheaders) + content).ljust(_PAGE, b"\0")


def _metadata(names: Sequence[str], widths: Sequence[int], kinds: Sequence[int], rows: int) -> bytes:
    text, places = b"\0" * 28, []  # what comes before the names says how rows are compressed: not at all
    for name in names:
        places.append((len(text), len(name)))
        text += name.encode().ljust(-len(name) % 4 + len(name), b"\0")
    row_size = bytearray(480)
    row_size[:4] = b"\xf7" * 4
    struct.pack_into("<II", row_size, 20, sum(widths), rows)
    struct.pack_into("<II", row_size, 36, len(names), 0)
    struct.pack_into("<I", row_size, 52, _PAGE)
    offsets = [sum(widths[:place]) for place in range(len(widths))]
    subheaders = [
        bytes(row_size),
        struct.pack("<4sII", b"\xf6" * 4, len(names), 0),
        # A reference to text counts from behind the signature; two bytes there are the length.
        _sized(0xFFFFFFFD, text[2:]),
        _sized(0xFFFFFFFF, b"".join(struct.pack("<HHHH", 0, *place, 0) for place in places), gap=6),
        _sized(
            0xFFFFFFFC,
            b"".join(struct.pack("<IIHBx", *each[:2], 4, each[2]) for each in zip(offsets, widths, kinds, strict=True)),
            gap=6,
        ),
        *[struct.pack("<I48x", 0xFFFFFBFE) for _ in names],
    ]
    end, pointers, body = _PAGE, b"", b""
    for subheader in subheaders:
        end -= len(subheader)
        pointers += struct.pack("<IIBBxx", end, len(subheader), 0, 0)
        body = subheader + body
    space = _PAGE - _PAGE_HEADER - len(pointers) - len(body)
    return _page(_META, len(subheaders), len(subheaders), pointers + b"\0" * space + body)


def _sized(signature: int, content: bytes, gap: int = 0) -> bytes:
    """Return a subheader that states its own length less 12, with blanks at its end."""
    length = 4 + 2 + gap + len(content) + 8
    return struct.pack("<IH", signature, length - 12) + b"\0" * gap + content + b"\0" * 8
