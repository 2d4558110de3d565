"""Pickles of numbers and text, read without trusting them: those that data sets are published in.

A pickle is a program. Here it may call a few names only, and each is answered by a stand-in of ours; numpy's own
classes are never touched, since a forged dtype state makes numpy follow pointers that stand in the file.
"""

import io
import math
import pickle

import numpy as np

from utils.errors import one_line

_NUMBERS = frozenset("b1 u1 u2 u4 u8 i1 i2 i4 i8 f2 f4 f8".split())


class PickleError(Exception):
    """A pickle that is damaged, no dictionary, or would run code; the message says which, on one line."""


def load_plain_pickle(content: bytes) -> dict:
    """Unpickle a dictionary of numbers, text, lists and arrays of numbers; keys become str, Python 2 text is latin-1.

    Raises:
        PickleError: anything else; nothing that the pickle calls is run.
    """
    try:
        value = _PlainUnpickler(io.BytesIO(content), encoding="latin1").load()
        if not isinstance(value, dict):
            raise pickle.UnpicklingError(f"holds a {type(value).__name__}, not a dictionary")
        return {_text(key): entry.numbers() if isinstance(entry, _Array) else entry for key, entry in value.items()}
    # Damage can put any opcode anywhere, so the unpickler may raise nearly every kind of exception.
    except Exception as error:
        raise PickleError(one_line(f"{type(error).__name__}: {error}")) from error


class NumberType:
    """Stand-in for numpy.dtype: of numbers, never of objects."""

    def __init__(self, code: str, *flags: object) -> None:
        if _text(code) not in _NUMBERS:
            raise pickle.UnpicklingError(f"array of type {one_line(code)}, not of numbers")
        self.dtype = np.dtype(_text(code))

    def __setstate__(self, state: tuple) -> None:
        order = _text(state[1])
        if order not in ("|", "<", ">", "="):
            raise pickle.UnpicklingError(f"byte order {one_line(order)}")
        self.dtype = self.dtype.newbyteorder(order)


def number(number_type: NumberType, raw: bytes | str) -> bool | int | float:
    """Stand-in for numpy's `scalar`."""
    return _filled(raw, number_type, (1,), "C").item()


class _Array:
    """Stand-in for numpy.ndarray and what makes one: empty until its state comes."""

    def __init__(self, *args: object) -> None:
        self._numbers: np.ndarray | None = None

    def __setstate__(self, state: tuple) -> None:
        _, shape, number_type, fortran_order, raw = state
        self._numbers = _filled(raw, number_type, shape, "F" if fortran_order else "C")

    def numbers(self) -> np.ndarray:
        if self._numbers is None:
            raise pickle.UnpicklingError("an array without content")
        return self._numbers


def _filled(raw: bytes | str, number_type: NumberType, shape: tuple[int, ...], order: str) -> np.ndarray:
    raw = raw.encode("latin1") if isinstance(raw, str) else raw
    if not isinstance(raw, bytes):
        raise pickle.UnpicklingError(f"{type(raw).__name__} in place of the bytes of an array")
    expected = math.prod(shape) * number_type.dtype.itemsize
    if min(shape, default=0) < 0 or len(raw) != expected:
        raise pickle.UnpicklingError(f"array of shape {shape} with {len(raw):,} bytes in place of {expected:,}")
    return np.frombuffer(raw, number_type.dtype).reshape(shape, order=order)


def _from_buffer(raw: bytes, number_type: NumberType, shape: tuple[int, ...], order: str) -> _Array:
    array = _Array()
    array.__setstate__((1, shape, number_type, _text(order) == "F", raw))
    return array


def _encoded(text: str, encoding: str) -> bytes:
    # Protocol 2 has no bytes: Python 3 writes them as latin-1 text.
    if _text(encoding) != "latin1":
        raise pickle.UnpicklingError(f"bytes written as {one_line(encoding)}")
    return text.encode("latin1")


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("latin1")
    if not isinstance(value, str):
        raise pickle.UnpicklingError(f"{type(value).__name__} in place of a text")
    return value


_STAND_INS = {
    "numpy.core.multiarray._reconstruct": _Array,
    "numpy.core.multiarray.scalar": number,
    "numpy.core.numeric._frombuffer": _from_buffer,
    "numpy.ndarray": _Array,
    "numpy.dtype": NumberType,
    "_codecs.encode": _encoded,
    "builtins.bytes": lambda: b"",
    "__builtin__.bytes": lambda: b"",
}


class _PlainUnpickler(pickle._Unpickler):
    """The unpickler in Python: the one in C takes 16 bytes for each number up to a memo index that stands in the file,
    so that one flipped bit costs 32 GiB. A CIFAR batch takes 20 ms longer.
    """

    def find_class(self, module: str, name: str) -> object:
        called = f"{module.replace('numpy._core', 'numpy.core')}.{name}"
        if called not in _STAND_INS:
            raise pickle.UnpicklingError(f"it would run code: it calls {one_line(called)}; nothing of it was run")
        return _STAND_INS[called]

    def load_build(self) -> None:
        # The original sets attributes of whatever is there, of the stand-ins themselves, too.
        state = self.stack.pop()
        if not isinstance(self.stack[-1], NumberType | _Array):
            raise pickle.UnpicklingError("a state for something that has none")
        self.stack[-1].__setstate__(state)

    dispatch = {
        **pickle._Unpickler.dispatch,
        pickle.BUILD[0]: load_build,
        # The original makes as many zeros as the file asks for before it reads.
        pickle.BYTEARRAY8[0]: pickle._Unpickler.load_binbytes8,
    }
