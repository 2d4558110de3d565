"""A pickle that would do anything but hold numbers and text is refused, and nothing of it runs."""

import builtins
import io
import os
import pickle
import pickletools
import struct

import numpy as np
import pytest

from utils.data.plain_pickle import PickleError
from utils.data.plain_pickle import load_plain_pickle as load

NUMBERS = np.arange(12, dtype=np.uint8).reshape(3, 4)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "array", [NUMBERS, np.asfortranarray(NUMBERS), np.arange(4, dtype=">i4"), np.empty((0, 3072), "u1")]
)
def test_arrays_of_every_protocol_come_back(protocol, array):
    content = pickle.dumps({"data": array, "labels": [1, 2], "name": "x", "raw": b"\x00\xff", b"key": None}, protocol)
    value = load(content)
    np.testing.assert_array_equal(value["data"], array)
    assert value["data"].dtype == array.dtype
    assert value["labels"] == [1, 2] and value["raw"] == b"\x00\xff" and value["key"] is None


@pytest.mark.parametrize("protocol", range(6))
def test_numpy_scalars_become_numbers(protocol):
    labels = load(pickle.dumps({"labels": [np.int64(7), np.uint8(3)]}, protocol))["labels"]
    assert labels == [7, 3] and all(type(label) is int for label in labels)


def test_python_2_pickle_of_an_array():
    # As Python 2 wrote CIFAR-100: str for text and for the raw bytes, numpy.core as the module.
    content = (
        b"(dp0\nS'data'\np1\ncnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
        b"(I1\n(I1\nI2\ntcnumpy\ndtype\n(S'u1'\nI0\nI1\ntR(I3\nS'|'\nNNNI-1\nI-1\nI0\ntbI00\nS'\\x01\\xfe'\ntbs."
    )
    np.testing.assert_array_equal(load(content)["data"], np.array([[1, 254]], dtype=np.uint8))


class Calls:
    """Pickles into a call of `function`."""

    def __init__(self, function, *args):
        self.reduced = (function, args)

    def __reduce__(self):
        return self.reduced


def attacks(target):
    command = f"touch {target}"
    hidden = Calls(os.system, command)
    objects = np.empty(1, dtype=object)
    objects[0] = hidden
    structured = np.zeros(1, dtype=[("a", "O")])
    structured["a"][0] = hidden
    yield "os.system", hidden
    yield "in a list in a dictionary", {"data": NUMBERS, "labels": [[hidden]]}
    yield "as a key", {Calls(os.mkdir, str(target)): 1}
    yield "eval", {"data": Calls(eval, f"open({str(target)!r}, 'w')")}
    yield "exec", {"data": Calls(exec, f"open({str(target)!r}, 'w')")}
    yield "open", {"data": Calls(open, str(target), "w")}
    yield "getattr", {"data": Calls(getattr, Calls(__import__, "os"), "system")}
    yield "getattr of numpy", {"data": Calls(getattr, np.ndarray, "tofile")}
    yield "object array", {"data": objects}
    yield "structured array", {"data": structured}
    yield "nested pickle", {"data": Calls(pickle.loads, pickle.dumps(hidden))}
    yield "numpy.load", {"data": Calls(np.load, str(target))}
    yield "class by name", {"data": io.FileIO}
    yield "builtins", {"data": builtins.print}


KINDS = [kind for kind, _ in attacks("x")]


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_attacks_are_refused_and_nothing_runs(tmp_path, kind, protocol):
    target = tmp_path / "ran"
    content = pickle.dumps(dict(attacks(target))[kind], protocol)
    with pytest.raises(PickleError):
        load(content)
    assert not target.exists()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [
        b"cnumpy\ncore.multiarray.os.system\n(S'true'\ntR.",  # a dotted name in protocol 0
        b"\x80\x04\x8c\x05numpy\x8c\x0dndarray.dumps\x93.",  # and in protocol 4
        b"cnumpy\ndtype\n(dS'build'\nS'x'\nsb.",  # an attribute of a stand-in
        b"cnumpy\ndtype\n(N(dS'_build'\nS'x'\nstb.",  # the same through slots
        b"(dS'a'\ncnumpy\nndarray\n)\x81s.",  # NEWOBJ of a stand-in
        b"(dS'a'\ncnumpy\ndtype\n(S'O'\nI0\nI1\ntRs.",  # pointers
        b"(dS'a'\nc_codecs\nencode\n(S'x'\nS'zlib'\ntRs.",  # another codec
        b"(dS'a'\nc__builtin__\nbytes\n(I99999999999\ntRs.",  # memory by a number
        b"(dS'a'\ncnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'i8'\ntRI99999999999\ntRs.",
        b"\x80\x02\x82\x01.",
        b"Ppersistent\n.",  # extension and persistent ids
    ],
    ids=range(11),
)
def test_forged_opcodes_are_refused(content):
    with pytest.raises(PickleError):
        load(content)
    # The stand-ins still work, and still refuse.
    np.testing.assert_array_equal(load(pickle.dumps({"data": NUMBERS}, 2))["data"], NUMBERS)


def test_array_with_too_few_bytes_is_refused():
    content = pickle.dumps({"data": NUMBERS}, 4)
    shape = pickletools.optimize(content).replace(b"K\x03K\x04\x86", b"K\x03K\x05\x86")
    assert shape != content
    with pytest.raises(PickleError, match="12 bytes in place of 15"):
        load(shape)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80",
        pickle.dumps({"data": NUMBERS})[:-20],
        b"<html>not found</html>",
        bytes(100),
        b"\x80\x04\x8e" + struct.pack("<Q", 2**62),
    ],
)
def test_damaged_files_are_named(content):
    with pytest.raises(PickleError):
        load(content)


def test_something_else_than_a_dictionary():
    with pytest.raises(PickleError, match="holds a list"):
        load(pickle.dumps([1, 2]))
