"""Which values a tensor of the Open Inference Protocol V2 holds, as JSON or by the binary extension (little-endian, row-major).

A BYTES element is its length (4 bytes) and then its bytes, which must be UTF-8 here. Numbers become Python numbers, one list
per tensor. Each must fit its datatype; otherwise the binary form of the same request would ask something else.
"""

import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from headrace.asking.requests import Unfit, shown, value_of
from headrace.events.inference import Scalar

_NUMPY = {
    "BOOL": "?",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
    "INT8": "i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "UINT8": "u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
}
DATATYPES = frozenset([*_NUMPY, "BF16", "BYTES"])
# Types of JSON values that need no further check.
_PLAIN = {"FP64": {float, bool, type(None)}, "BOOL": {bool, type(None)}}
MAX_RANK = 8
_NONE = type(None)
_TEXTS, _NUMBERS = {str, _NONE}, {int, float, bool, _NONE}
# Numbers of the floating types lie between these bounds (exclusive: a number as large is rounded to an infinity), others within (inclusive).
_FLOATS = {"FP16": 65_520.0, "BF16": 2.0**128 - 2.0**119, "FP32": 2.0**128 - 2.0**103, "FP64": math.inf}
_WHOLE = {name: (int(np.iinfo(kind).min), int(np.iinfo(kind).max)) for name, kind in _NUMPY.items() if "INT" in name}


class Tensor(msgspec.Struct, frozen=True):
    """One named input of a V2 request. `data`: None when it lies in the binary part."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any] | None = None
    parameters: dict[str, Any] | None = None


class Wrong(Unfit):
    """A body asks nothing that could be answered. It is raised and caught within the core."""


def values_of(tensor: Tensor, binary: memoryview | None) -> list[Scalar]:
    """All values, row by row. `binary`: the tensor's own bytes, None when `data` holds them."""
    if binary is None and tensor.shape == [len(tensor.data or ())] and _is_plain(tensor):
        return tensor.data or []
    if tensor.datatype not in DATATYPES:
        raise Wrong(f"input {shown(tensor.name)}: datatype {shown(tensor.datatype)} is not one of V2's")
    count = count_of(tensor)
    values = _from_binary(tensor, binary) if binary is not None else _from_json(tensor)
    if len(values) != count:
        raise Wrong(f"{_called(tensor)}: shape {shown(tensor.shape)} wants {shown(count)} values, got {len(values)}")
    return values


def _called(tensor: Tensor) -> str:
    """The tensor in a message.

    >>> _called(Tensor("miles", [1], "FP64"))
    'input miles'
    """
    return f"input {tensor.name}" if len(tensor.name) <= 80 else f"input {shown(tensor.name)}"


def _is_plain(tensor: Tensor) -> bool:
    """Whether the types of the values alone show that all fit: a fast path, since many small tensors make one request."""
    kinds = set(map(type, tensor.data or ()))
    return kinds <= (_TEXTS if tensor.datatype == "BYTES" else _PLAIN.get(tensor.datatype, set()))


def count_of(tensor: Tensor) -> int:
    """How many values the shape wants."""
    if not 0 < len(tensor.shape) <= MAX_RANK or any(size < 0 for size in tensor.shape):
        raise Wrong(f"{_called(tensor)}: shape must be [rows] or [rows, columns], got {shown(tensor.shape)}")
    return math.prod(tensor.shape)


def _from_json(tensor: Tensor) -> list[Scalar]:
    if tensor.data is None:
        raise Wrong(f"{_called(tensor)} has neither data nor binary_data_size")
    flat = _flat(tensor, tensor.data, tensor.shape) if list in set(map(type, tensor.data)) else tensor.data
    wanted = _TEXTS if tensor.datatype == "BYTES" else _NUMBERS
    kinds = set(map(type, flat))
    if not kinds <= wanted:
        what = "text (BYTES)" if wanted is _TEXTS else f"a number ({tensor.datatype})"
        wrong = next(value for value in flat if type(value) not in wanted)
        raise Wrong(f"{_called(tensor)}: {shown(wrong)} is not {what}")
    if wanted is _NUMBERS:
        _refuse_beyond(tensor, flat)
    return [value_of(_called(tensor), value) for value in flat] if int in kinds else flat


def _refuse_beyond(tensor: Tensor, values: list[Any]) -> None:
    """Raise `Wrong` for a number that does not fit the tensor's datatype."""
    there = [value for value in values if value is not None]
    if not there:
        return
    if tensor.datatype in _FLOATS:
        bound = _FLOATS[tensor.datatype]
        if -bound < min(there) and max(there) < bound:
            return
        wrong, what = next(value for value in there if not -bound < value < bound), ""
    else:
        low, high = _WHOLE.get(tensor.datatype, (0, 1))
        if low <= min(there) and max(there) <= high and all(map(_is_whole, there)):
            return
        wrong = next(value for value in there if not low <= value <= high or not _is_whole(value))
        what = f", a whole number of {low}..{high}"
    raise Wrong(f"{_called(tensor)}: {shown(wrong)} does not fit {tensor.datatype}{what}")


def _is_whole(value: float) -> bool:
    return isinstance(value, int) or value.is_integer()


def _flat(tensor: Tensor, level: list[Any], shape: Sequence[int]) -> list[Any]:
    """Nested data, row by row. It must be nested as the shape says; otherwise values would move between rows unnoticed."""
    if len(level) != shape[0]:
        raise Wrong(f"{_called(tensor)}: shape {shown(tensor.shape)} wants lists of {shape[0]}, one has {len(level)}")
    if len(shape) == 1:
        if list in set(map(type, level)):
            raise Wrong(f"{_called(tensor)}: its data is nested deeper than its shape {shown(tensor.shape)}")
        return level
    if set(map(type, level)) != {list}:
        raise Wrong(f"{_called(tensor)}: its data is not nested as its shape {shown(tensor.shape)} says")
    return [value for part in level for value in _flat(tensor, part, shape[1:])]


def _from_binary(tensor: Tensor, binary: memoryview) -> list[Scalar]:
    if tensor.datatype == "BYTES":
        return _texts(_called(tensor), binary)
    if tensor.datatype == "BF16":
        return _halves(tensor, binary)
    if tensor.datatype == "BOOL" and (found := np.frombuffer(binary, "u1")).size and found.max() > 1:
        raise Wrong(f"{_called(tensor)}: {found.max()} does not fit BOOL, a byte of 0..1")
    return _array(tensor, binary, _NUMPY[tensor.datatype]).tolist()


def _halves(tensor: Tensor, binary: memoryview) -> list[Scalar]:
    """bfloat16 is the upper half of a float32."""
    return (_array(tensor, binary, "<u2").astype("<u4") << 16).view("<f4").tolist()


def _array(tensor: Tensor, binary: memoryview, kind: str) -> np.ndarray:
    if len(binary) % np.dtype(kind).itemsize:
        raise Wrong(f"{_called(tensor)}: {len(binary)} bytes are no whole number of {tensor.datatype}")
    return np.frombuffer(binary, kind)


def _texts(name: str, binary: memoryview) -> list[Scalar]:
    found: list[Scalar] = []
    at = 0
    while at < len(binary):
        size = int.from_bytes(binary[at : at + 4], "little")
        end = at + 4 + size
        if end > len(binary):
            raise Wrong(f"{name}: an element of {size} bytes goes past its binary_data_size")
        try:
            found.append(str(binary[at + 4 : end], "utf-8"))
        except UnicodeDecodeError:
            raise Wrong(f"{name}: BYTES must be UTF-8 text") from None
        at = end
    return found


def to_binary(datatype: str, values: Sequence[Any]) -> bytes:
    """The bytes of an output tensor; a missing number is NaN.

    >>> to_binary("BYTES", ["ab"]), to_binary("INT64", [1])[:2]
    (b'\\x02\\x00\\x00\\x00ab', b'\\x01\\x00')
    """
    if datatype == "BYTES":
        texts = [str(value).encode() for value in values]
        return b"".join(len(text).to_bytes(4, "little") + text for text in texts)
    return np.array([math.nan if value is None else value for value in values], _NUMPY[datatype]).tobytes()
