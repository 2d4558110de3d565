"""Arrays of numbers from MATLAB 5 files (the "Level 5 MAT-File Format" of MathWorks), every length checked.

scipy's reader is not used on files that may be damaged: a flipped bit can end the whole process with a segmentation
fault, which no `except` catches.
"""

import math
import zlib

import numpy as np

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_STORAGE_TYPES = {1: "i1", 2: "u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8", 12: "<i8", 13: "<u8"}
_CLASS_TYPES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
_COMPLEX = 0x0800
_MAX_DIMENSIONS = 8
# SVHN's largest file has 2 GB of pixels; a few kilobytes of zeros could ask for as much memory as they like.
_MAX_UNPACKED = 4 * 1024**3


class MatError(Exception):
    """A file that is damaged, or no little-endian MATLAB 5 file; the message says what is wrong."""


def read_arrays(content: bytes) -> dict[str, np.ndarray]:
    """Name -> array of real numbers, in Fortran order and read-only; anything else that the file holds is left out.

    The checksums of compressed arrays are verified. What is not compressed has none.

    Raises:
        MatError: damaged, or another format.
    """
    if len(content) < _HEADER or content[124:128] != b"\x00\x01IM":
        raise MatError("no MATLAB 5 file")
    arrays, rest = {}, memoryview(content)[_HEADER:]
    while rest:
        kind, body, rest = _element(rest)
        if kind == _COMPRESSED:
            kind, body, _ = _element(memoryview(_decompressed(body)))
        if kind != _MATRIX:
            raise MatError(f"element of type {kind} in place of an array")
        name, array = _matrix(body)
        if array is not None:
            arrays[name] = array
    return arrays


def _element(data: memoryview) -> tuple[int, memoryview, memoryview]:
    """Type, content and what follows, at the next multiple of 8 bytes."""
    if len(data) < 8:
        raise MatError("cut off")
    kind, size = np.frombuffer(data[:8], "<u4").tolist()
    if kind >> 16:  # up to 4 bytes stand inside the tag
        kind, size, start = kind & 0xFFFF, kind >> 16, 4
        if size > 4:
            raise MatError(f"short element of {size:,} bytes")
        end = 8
    else:
        start = 8
        # Only compressed elements are not padded.
        end = start + size + (0 if kind == _COMPRESSED else -size % 8)
    if start + size > len(data):
        raise MatError(f"element of {size:,} bytes where {len(data) - start:,} are left")
    return kind, data[start : start + size], data[end:]


def _decompressed(body: memoryview) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        unpacked = unpacker.decompress(body, _MAX_UNPACKED)
    except zlib.error as error:
        raise MatError(str(error)) from error
    if not unpacker.eof:
        raise MatError("compressed data are cut off, or too large")
    return unpacked


def _matrix(body: memoryview) -> tuple[str, np.ndarray | None]:
    """Name and array; None for what holds no real numbers (text, structures, cells, sparse arrays)."""
    _, flags, body = _element(body)
    kind, dimensions, body = _element(body)
    _, name, body = _element(body)
    if len(flags) != 8 or kind != 5 or len(dimensions) % 4 or len(dimensions) > 4 * _MAX_DIMENSIONS:
        raise MatError("array without a class or a shape")
    described = int(np.frombuffer(flags[:4], "<u4")[0])
    number_type = _CLASS_TYPES.get(described & 0xFF)
    if number_type is None or described & _COMPLEX:
        return "", None
    shape = tuple(np.frombuffer(dimensions, "<i4").tolist())
    storage, values, _ = _element(body)
    # Whole numbers may be stored in a smaller type than they have.
    if storage not in _STORAGE_TYPES or not np.can_cast(_STORAGE_TYPES[storage], number_type):
        raise MatError(f"numbers of type {storage}")
    stored = np.dtype(_STORAGE_TYPES[storage])
    if min(shape, default=0) < 0 or len(values) != math.prod(shape) * stored.itemsize:
        raise MatError(f"array of shape {shape} with {len(values):,} bytes")
    try:
        array = np.frombuffer(values, stored).reshape(shape, order="F")
    except ValueError as error:  # nothing, by far too much
        raise MatError(f"array of shape {shape}") from error
    return bytes(name).decode("latin1"), array.astype(number_type, order="F", copy=False)
