"""A digest of a model's content: a canonical walk over types, parameters and arrays.

The bytes of saved models differ between identical fits (they contain ids and times), so they cannot show whether two
models are the same. This digest can.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np


def model_digest(model: Any) -> str:
    """A hex digest that is equal for equal models: the same types, parameters and arrays, to the bit."""
    digest = hashlib.blake2b(digest_size=16)
    _walk(model, digest, 0)
    return digest.hexdigest()


def _walk(value: Any, digest: Any, depth: int) -> None:
    if depth > 100:
        raise ValueError("a model nested deeper than 100 levels cannot be digested")
    kind = type(value)
    digest.update(f"<{kind.__module__}.{kind.__qualname__}>".encode())
    if value is None or isinstance(value, bool | int | float | str | bytes | complex):
        digest.update(repr(value).encode())
    elif isinstance(value, np.ndarray):
        _array(value, digest, depth)
    elif isinstance(value, np.generic | np.dtype):
        digest.update(repr(value).encode())
    elif isinstance(value, np.random.RandomState | np.random.Generator):
        digest.update(b"random")
    elif isinstance(value, Mapping):
        for key in sorted(value, key=repr):
            _walk(key, digest, depth + 1)
            _walk(value[key], digest, depth + 1)
    elif isinstance(value, list | tuple):
        for item in value:
            _walk(item, digest, depth + 1)
    elif isinstance(value, set | frozenset):
        for item in sorted(value, key=repr):
            _walk(item, digest, depth + 1)
    elif isinstance(value, type) or callable(value):
        digest.update(
            f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', kind.__qualname__)}".encode()
        )
    else:
        _walk(_state_of(value), digest, depth + 1)


def _array(value: np.ndarray, digest: Any, depth: int) -> None:
    digest.update(f"{value.dtype.str}{value.shape}".encode())
    if value.dtype == object:
        for item in value.ravel():
            _walk(item, digest, depth + 1)
    elif value.dtype.names:
        # NB: padding bytes of a struct are not initialised, so only its fields are hashed.
        for name in value.dtype.names:
            digest.update(name.encode() + np.ascontiguousarray(value[name]).tobytes())
    else:
        digest.update(np.ascontiguousarray(value).tobytes())


def _state_of(value: Any) -> Any:
    if hasattr(value, "__getstate__"):
        state = value.__getstate__()
        if state is not None:
            return state
    return {name: getattr(value, name) for name in getattr(value, "__slots__", ())}
