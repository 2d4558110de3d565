"""The reader of MATLAB files against scipy's, and files that ask for more than they hold."""

import io
import zlib

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from utils.data.mat_file import MatError, read_arrays


def saved(compressed: bool = False, **arrays: object) -> bytes:
    stream = io.BytesIO()
    savemat(stream, arrays, do_compression=compressed)
    return stream.getvalue()


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("number_type", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"])
def test_numbers_of_every_type_as_scipy_reads_them(number_type, compressed):
    arrays = {"x" * (count + 1): np.arange(count * 6).reshape(2, 3, count).astype(number_type) for count in range(5)}
    content = saved(compressed, **arrays)
    found, expected = read_arrays(content), loadmat(io.BytesIO(content))
    assert found.keys() == arrays.keys()
    for name, array in found.items():
        np.testing.assert_array_equal(array, expected[name])
        assert array.dtype == expected[name].dtype and not array.flags.writeable


def test_whole_numbers_stored_in_a_smaller_type():
    # As MATLAB writes y of test_32x32.mat: doubles stored as bytes.
    content = bytearray(saved(y=np.array([[1, 2, 3, 4, 5, 6, 7, 8]], dtype=np.uint8)))
    content[128 + 16] = 6
    array = read_arrays(bytes(content))["y"]
    assert array.dtype == np.float64 and array.tolist() == [[1, 2, 3, 4, 5, 6, 7, 8]]


def test_what_holds_no_real_numbers_is_left_out():
    content = saved(
        text="words",
        cell=np.array([["a"], {"b": 1}], dtype=object),
        record={"a": 1},
        complex=np.array([1j]),
        good=np.array([[7]], dtype=np.uint8),
    )
    assert {name: array.tolist() for name, array in read_arrays(content).items()} == {"good": [[7]]}


def with_shape(*shape: int) -> bytes:
    """A file whose array has this shape, and no numbers."""
    dimensions = np.array(shape, "<i4").tobytes()
    dimensions += bytes(-len(dimensions) % 8)
    body = np.array([6, 8, 9, 0, 5, 4 * len(shape)], "<u4").tobytes() + dimensions
    body += np.array([1, 0, 2, 0], "<u4").tobytes()
    return saved()[:128] + np.array([14, len(body)], "<u4").tobytes() + body


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"MATLAB",
        saved()[:127],
        saved()[:128] + b"short",
        with_shape(2**31 - 1, 2**31 - 1),
        with_shape(-1, -1),
        with_shape(0, *[2**31 - 1] * 5),
        with_shape(*[0] * 9),
        saved()[:128] + b"\x0f\0\0\0\xff\xff\xff\x7f",
    ],
)
def test_files_that_ask_for_more_than_they_hold(content):
    with pytest.raises(MatError):
        read_arrays(content)


def test_compressed_arrays_are_checked_to_the_last_byte():
    content = saved(compressed=True, X=np.arange(3000, dtype=np.uint16))
    for damaged in (content[:-1] + bytes([content[-1] ^ 1]), content[:-1]):
        with pytest.raises(MatError):
            read_arrays(damaged)
    inner = zlib.compress(bytes(64))
    with pytest.raises(MatError, match="in place of an array"):
        read_arrays(saved()[:128] + np.array([15, len(inner)], "<u4").tobytes() + inner)
