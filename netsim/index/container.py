"""A container of named sections in one file: what an artifact is kept in.

Layout, all little-endian. A head of 64 bytes: the magic, the major and minor version, the size of the file, where the
table of sections lies and its size, and the checksum of table and head. Then sections, each at a multiple
of 64 bytes, then the table. A section is JSON in UTF-8, or one array with its type and shape; its checksum is
over its bytes and the padding behind it, so that every byte of the file is under one (CRC-32: it finds damage,
it is no protection against forgery).

Invariants:

- C1  nothing is read before its checksum holds; what does not hold is an `ArtifactError`;
- C2  a reader takes every minor version of its major version, skips sections that it does not know, and refuses
      any other major version;
- C3  a file appears under its name whole or not at all.

The file is mapped into memory, so processes share its pages. The mapping is private: arrays can be written to, and
nobody sees it. Opening costs one pass over the bytes, some milliseconds for ten megabytes.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netsim.errors import NetsimError

MAGIC = b"\x93netsim\n"
MAJOR, MINOR = 1, 0
ALIGN = 64
_HEAD = struct.Struct("<8sHHIQQQI20x")
_CHECK = 40
"""Where the head's checksum lies, which counts as 0 in itself."""
_SECTION = struct.Struct("<64sQQI4s8sI4Q")
_TYPES = frozenset({"<u1", "<u2", "<u4", "<u8", "<i1", "<i2", "<i4", "<i8", "|u1", "|i1", "|b1"})
_DEPTH = 4


class ArtifactError(NetsimError):
    """A file that is no artifact, is damaged, or of a version that this netsim does not read."""

    code = "NS970"


def write(path: str | os.PathLike[str], sections: Mapping[str, Any]) -> None:
    """Writes sections, arrays or what JSON takes, under their names. The file is replaced in one step.

    Raises `OSError` where the folder cannot be written to.
    """
    target = Path(path)
    parts: list[bytes | memoryview] = []
    table: list[bytes] = []
    offset = _HEAD.size
    for name, value in sections.items():
        kind, code, shape = b"json", b"", ()
        if isinstance(value, np.ndarray):
            array = np.asarray(value, value.dtype.newbyteorder("<"), order="C")
            data: bytes | memoryview = array.tobytes()
            kind, code, shape = b"data", array.dtype.str.encode(), array.shape
        else:
            data = json.dumps(value, separators=(",", ":"), ensure_ascii=True).encode()
        padding = bytes(-len(data) % ALIGN)
        check = zlib.crc32(padding, zlib.crc32(data))
        raw = name.encode()
        assert len(raw) <= 64 and len(shape) <= _DEPTH, name
        sizes = (*shape, *[0] * (_DEPTH - len(shape)))
        table.append(_SECTION.pack(raw, offset, len(data), check, kind, code, len(shape), *sizes))
        parts += [data, padding]
        offset += len(data) + len(padding)
    listing = b"".join(table)
    total = offset + len(listing)
    head = _HEAD.pack(MAGIC, MAJOR, MINOR, 0, total, offset, len(listing), 0)
    head = _HEAD.pack(
        MAGIC, MAJOR, MINOR, 0, total, offset, len(listing), zlib.crc32(listing, zlib.crc32(head))
    )
    handle, scratch = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(head)
            for part in parts:
                out.write(part)
            out.write(listing)
            out.flush()
            os.fsync(out.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(scratch, 0o666 & ~umask)
        os.replace(scratch, target)
    except BaseException:
        os.unlink(scratch)
        raise


class Container:
    """The sections of a file. Raises `ArtifactError` for a file that is not whole, `OSError` for none."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        with open(self.path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size < _HEAD.size:
                raise self._error("is no netsim index")
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        head = bytes(self._map[: _HEAD.size])
        magic, major, minor, _, total, at, length, check = _HEAD.unpack(head)
        if magic != MAGIC:
            raise self._error("is no netsim index")
        if major != MAJOR:
            raise self._error(
                f"is of version {major}.{minor}, and this netsim reads version {MAJOR}: make it anew"
            )
        if total != size or at + length > size or length % _SECTION.size:
            raise self._error(f"has {size} bytes where its head says {total}: it is truncated or damaged")
        view = memoryview(self._map)
        clear = head[:_CHECK] + bytes(4) + head[_CHECK + 4 :]
        if zlib.crc32(view[at : at + length], zlib.crc32(clear)) != check:
            raise self._error("is damaged: its table of sections")
        self._found: dict[str, tuple[int, int, bytes, bytes, tuple[int, ...]]] = {}
        end = _HEAD.size
        for entry in _SECTION.iter_unpack(view[at : at + length]):
            raw, offset, count, wanted, kind, code, depth, *sizes = entry
            name = raw.rstrip(b"\0").decode("utf-8", "replace")
            padded = count + -count % ALIGN
            if offset != end or offset + padded > at or depth > _DEPTH:
                raise self._error(f"is damaged: where section {name!r} lies")
            if zlib.crc32(view[offset : offset + padded]) != wanted:
                raise self._error(f"is damaged: section {name!r}")
            end = offset + padded
            self._found[name] = (offset, count, kind, code.rstrip(b"\0"), tuple(sizes[:depth]))
        if end != at:
            raise self._error("is damaged: bytes between its sections")

    def _error(self, what: str) -> ArtifactError:
        return ArtifactError(f"{self.path} {what}")

    def __contains__(self, name: str) -> bool:
        return name in self._found

    def names(self) -> tuple[str, ...]:
        """The names of all sections, in order."""
        return tuple(self._found)

    def _section(self, name: str, kind: bytes) -> tuple[int, int, bytes, bytes, tuple[int, ...]]:
        found = self._found.get(name)
        if found is None:
            raise self._error(f"has no section {name!r}")
        if found[2] != kind:
            raise self._error(f"has a section {name!r} of another kind")
        return found

    def json(self, name: str) -> Any:
        """A section of JSON."""
        offset, count, *_ = self._section(name, b"json")
        try:
            return json.loads(self._map[offset : offset + count])
        except (ValueError, RecursionError):
            raise self._error(f"has no JSON in section {name!r}") from None

    def array(self, name: str) -> NDArray[Any]:
        """A section that is an array, without a copy."""
        offset, count, _, code, shape = self._section(name, b"data")
        text = code.decode("ascii", "replace")
        if text not in _TYPES:
            raise self._error(f"has an array of type {text!r} in section {name!r}")
        kind = np.dtype(text)
        size = 1
        for each in shape:
            size *= each
        if size * kind.itemsize != count:
            raise self._error(f"has an array of another size in section {name!r}")
        return np.frombuffer(self._map, kind, size, offset).reshape(shape)


__all__ = ["MAGIC", "MAJOR", "MINOR", "ArtifactError", "Container", "write"]
