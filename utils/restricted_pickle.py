"""Reading the pickles that data sets are published in without trusting them.

A pickle is a program. Here every name that it may call is answered by a stand-in of ours that only takes notes; numpy's
own classes are never touched, since a forged dtype state makes numpy follow pointers that stand in the file. A name
that an array of numbers does not need is refused, and nothing has run by then.
"""

import io
import math
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np

from utils.errors import UserError, one_line, shown

_NUMBER_CODES = frozenset({"u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8"})


def load_plain_pickle(path: str | Path, content: bytes, advice: str) -> dict:
    """Unpickle a dictionary of numbers, text, lists and integer arrays; keys become str, Python 2 text is latin-1.

    Args:
        path: the file's name, for messages; `content` is what it holds.
        advice: last line of a message: how to get a sound file.
    Raises:
        UserError: damaged, not a dictionary, or a file that would call anything else.
    """
    unpickler = _PlainUnpickler(io.BytesIO(content), encoding="latin1")
    try:
        value = unpickler.load()
        if not isinstance(value, dict):
            raise pickle.UnpicklingError(f"holds a {type(value).__name__}, not a dictionary")
        return {_text(key): _plain(entry) for key, entry in value.items()}
    except _Refused as error:
        raise UserError(
            f"refused to load a file that would run code: "
            f"it calls {shown(str(error)[:200])}; nothing of it was run\n"
            f"  file       : {shown(path)}\n  {advice}"
        ) from error
    # Damage can put any opcode anywhere, so the unpickler may raise nearly every kind of exception.
    except Exception as error:
        raise UserError(
            f"damaged file: {one_line(repr(error))}\n  file       : {shown(path)} ({len(content):,} bytes)\n  {advice}"
        ) from error


class _Refused(pickle.UnpicklingError):
    pass


class _PlainUnpickler(pickle._Unpickler):
    """The unpickler in Python: the one in C takes 16 bytes for each number up to a memo index that stands in the file,
    so that one flipped bit costs 32 GiB. A CIFAR batch takes 20 ms longer.
    """

    dispatch = dict(pickle._Unpickler.dispatch)

    def load_bytearray8(self) -> None:
        # The original makes as many zeros as the file asks for before it reads.
        (length,) = struct.unpack("<Q", self.read(8))
        self.append(bytearray(self.read(length)))

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8

    def find_class(self, module: str, name: str) -> object:
        try:
            return _STAND_INS[module, name]
        except KeyError:
            raise _Refused(f"{module}.{name}") from None


class _StandIn:
    """What a name in the pickle turns into. Immutable: a pickle can set attributes of whatever it holds."""

    __slots__ = ("_build",)

    def __init__(self, build: Callable) -> None:
        object.__setattr__(self, "_build", build)

    def __call__(self, *args: object) -> object:
        return self._build(*args)

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("a state for something that has none")

    def __setattr__(self, name: str, value: object) -> None:
        raise pickle.UnpicklingError("an attribute for something that has none")


class _NumberType:
    """Stand-in for numpy.dtype."""

    def __init__(self, code: str, *flags: object) -> None:
        code = _text(code)
        if code not in _NUMBER_CODES:
            raise pickle.UnpicklingError(f"array of type {code!r}, not of whole numbers")
        self.numpy_type = np.dtype(code)

    def __setstate__(self, state: tuple) -> None:
        order = _text(state[1])
        if order not in ("|", "<", ">", "="):
            raise pickle.UnpicklingError(f"byte order {order!r}")
        self.numpy_type = self.numpy_type.newbyteorder(order)


class _Array:
    """Stand-in for numpy.ndarray."""

    def __init__(self) -> None:
        self.value: np.ndarray | None = None

    def __setstate__(self, state: tuple) -> None:
        _, shape, number_type, fortran_order, raw = state
        self.value = _array(raw, number_type, shape, "F" if fortran_order else "C")


def _array(raw: bytes | str, number_type: _NumberType, shape: tuple[int, ...], order: str) -> np.ndarray:
    if isinstance(raw, str):
        raw = raw.encode("latin1")
    if not isinstance(raw, bytes | bytearray):
        raise pickle.UnpicklingError(f"{type(raw).__name__} in place of the bytes of an array")
    expected = math.prod(shape) * number_type.numpy_type.itemsize
    if min(shape, default=0) < 0 or len(raw) != expected:
        raise pickle.UnpicklingError(f"array of shape {shape} with {len(raw):,} bytes in place of {expected:,}")
    return np.frombuffer(raw, number_type.numpy_type).reshape(shape, order=order)


def _array_from_buffer(raw: bytes, number_type: _NumberType, shape: tuple[int, ...], order: str) -> _Array:
    array = _Array()
    array.value = _array(raw, number_type, shape, "F" if _text(order) == "F" else "C")
    return array


def _empty_array(*_: object) -> _Array:
    return _Array()


def _scalar(number_type: _NumberType, raw: bytes | str) -> int:
    return int(_array(raw, number_type, (1,), "C")[0])


def _encoded(text: str, encoding: str) -> bytes:
    # Protocol 2 has no bytes: Python 3 writes them as latin-1 text.
    if _text(encoding) != "latin1":
        raise pickle.UnpicklingError(f"bytes written as {encoding!r}")
    return text.encode("latin1")


def _bytes(*content: bytes) -> bytes:
    # bytes(10**12) would take the memory that the number asks for.
    if any(isinstance(part, int) for part in content):
        raise pickle.UnpicklingError("bytes of a given length")
    return bytes(*content)


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("latin1")
    if not isinstance(value, str):
        raise pickle.UnpicklingError(f"{type(value).__name__} in place of a text")
    return value


def _plain(entry: object) -> object:
    if isinstance(entry, _Array):
        if entry.value is None:
            raise pickle.UnpicklingError("an array without content")
        return entry.value
    return entry


_STAND_INS = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _StandIn(_empty_array) for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _StandIn(_scalar) for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _StandIn(_array_from_buffer) for core in ("core", "_core")},
    ("numpy", "ndarray"): _StandIn(_empty_array),
    ("numpy", "dtype"): _StandIn(_NumberType),
    ("_codecs", "encode"): _StandIn(_encoded),
    ("__builtin__", "bytes"): _StandIn(_bytes),
    ("builtins", "bytes"): _StandIn(_bytes),
    ("builtins", "bytearray"): _StandIn(_bytes),
    ("__builtin__", "bytearray"): _StandIn(_bytes),
}
