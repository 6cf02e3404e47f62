"""The contract of a question, the same for every way in: its unit, instant, values and id, all bounded.

The gateway (three dialects of HTTP) and the Python client (over HTTP and Kafka) use it, so that one value means the
same in all of them: 5, 5.0 and "5" are one unit; None, NaN, `pandas.NA` and `NaT` are a missing value; an array without
dimensions is its value; an instant is its RFC 3339 text in UTC, as in JSON.
"""

import math
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import numpy as np

from headrace.errors import Poison
from headrace.events.inference import Scalar
from headrace.instants import instant_s, why_not
from headrace.log.envelope import MAX_TEXT_BYTES, format_instant, parse_instant

MAX_TEXT_CHARS = 512
MAX_ID_BYTES = 512
MAX_ROWS = 256
# The longest wait of one call over HTTP. A request on the log may have a later deadline.
LONGEST_WAIT_MS = 30_000
_SHOWN_CHARS = 80
_INSTANT_CHARS = 64
_LARGEST = 2**63


class Unfit(Exception):
    """A question is not valid. The message names the field, the value and what was expected."""


def shown(value: object) -> str:
    """A foreign value for a message, at most one line long.

    >>> shown("a" * 1000)[-12:], shown(10**5000)
    ('aaaaaaa[...]', 'an integer of 16610 bits')
    """
    if isinstance(value, int) and value.bit_length() > 256:
        return f"an integer of {value.bit_length()} bits"
    text = repr(value[:_SHOWN_CHARS] if isinstance(value, str | bytes | list) else value)
    return text if len(text) <= _SHOWN_CHARS else f"{text[: _SHOWN_CHARS - 5]}[...]"


def unit_of(given: Any, name: str = "unit") -> str | None:
    """The unit of a request, as text; None when it is missing. A whole number becomes its digits, whatever its type.

    >>> unit_of(5), unit_of(5.0), unit_of(np.int64(5)), unit_of("5"), unit_of(2.5), unit_of(None)
    ('5', '5', '5', '5', '2.5', None)
    """
    if given is None:
        return None
    plain = given if type(given) is str else value_of(name, given)
    if plain is None or isinstance(plain, bool):
        raise Unfit(f"{name} must be text or a number, got {shown(given)}")
    if isinstance(plain, float) and plain.is_integer():
        plain = int(plain)
    text = _text(name, str(plain))
    # NB: readers limit the bytes of whatever names a request: a longer one would become a dead letter, without an
    # answer.
    if not text.isascii() and len(text.encode()) > MAX_TEXT_BYTES:
        raise Unfit(f"{name} may have {MAX_TEXT_BYTES} bytes at most in UTF-8, got {len(text.encode())}")
    return text


def instant_of(given: Any, now_s: float, name: str = "at") -> float:
    """Seconds since the epoch of the requested instant; `now_s` (of the wall clock) when it is missing.

    >>> instant_of("2013-04-01T00:00:00Z", 2e9), instant_of(datetime(2013, 4, 1), 2e9), instant_of(None, 7.0)
    (1364774400.0, 1364774400.0, 7.0)
    """
    if given is None:
        return now_s
    found = _seconds(given)
    if found is None:
        raise Unfit(f"{name} must be an RFC 3339 instant or seconds since the epoch, got {shown(given)}")
    # NB: inference decides again by the broker's append time; this check answers the client at once.
    refusal = why_not(found, round(now_s * 1000), name)
    if refusal is None and found < 0:
        refusal = f"{name} must lie in the years 1970..9999 UTC, got {shown(given)}"
    if refusal is not None:
        raise Unfit(refusal)
    return found


def value_of(name: str, given: Any) -> Scalar:
    """One value of an input; None when it is missing. `name`: its name in messages ("input miles").

    An integer beyond 64 bits becomes the nearest float. Raises `Unfit` for anything but a finite number, text or bool.

    >>> value_of("a", np.float32(0.5)), value_of("a", math.nan), value_of("a", 10**30), value_of("a", np.array(True))
    (0.5, None, 1e+30, True)
    >>> value_of("a", datetime(2013, 4, 1, 12)), value_of("a", date(2013, 4, 1))
    ('2013-04-01T12:00:00Z', '2013-04-01')
    """
    kind = type(given)
    if kind is str:
        return _text(name, given)
    if kind is float:
        return _finite(name, given)
    if kind is int:
        return given if -_LARGEST <= given < _LARGEST else _huge(name, given)
    if given is None or kind is bool:
        return given
    return value_of(name, _plain(name, given))


def id_of(given: str, name: str = "request_id") -> str:
    """An id of a request that may have rows of its own: short, and printable in a header. Raises `Unfit` otherwise.

    >>> id_of("order-7")
    'order-7'
    """
    if not (isinstance(given, str) and given.isascii() and given.isprintable()):
        raise Unfit(f"{name} must be printable ASCII characters, got {shown(given)}")
    most = MAX_ID_BYTES - len(f"/{MAX_ROWS}")
    if not 0 < len(given) <= most:
        raise Unfit(f"{name} must have 1..{most} characters, got {len(given)}")
    return given


def _seconds(given: Any) -> float | None:
    """Seconds since the epoch; None for a value that is no instant."""
    try:
        if isinstance(given, str):
            return parse_instant(given) if len(given) <= _INSTANT_CHARS else None
        given = _instant(given)
        if isinstance(given, bool) or _is_missing(given):
            return None
        return instant_s(given) if isinstance(given, datetime | int | float) else None
    except (Poison, ValueError, OverflowError):
        return None


def _instant(given: Any) -> Any:
    """The Python value of a numpy scalar, an array without dimensions or a Decimal; other values as they are."""
    if isinstance(given, np.ndarray) and given.ndim == 0:
        given = given[()]
    if isinstance(given, np.datetime64):
        return given.astype("datetime64[us]").item()
    if isinstance(given, Decimal | np.floating):
        return float(given)
    return given.item() if isinstance(given, np.generic) else given


def _is_missing(given: Any) -> bool:
    """Whether a value is None, or what numpy and pandas write for a missing value (pandas is no dependency)."""
    if given is None or (isinstance(given, float | np.floating) and math.isnan(given)):
        return True
    if isinstance(given, np.datetime64 | np.timedelta64):
        return bool(np.isnat(given))
    if isinstance(given, Decimal):
        return given.is_nan()
    kind = type(given)
    return kind.__name__ in ("NAType", "NaTType") and kind.__module__.startswith("pandas")


def _plain(name: str, given: Any) -> Scalar:
    """The Python value of a subclass, a numpy scalar, a Decimal or an instant."""
    if isinstance(given, np.ndarray) and given.ndim == 0:
        return value_of(name, given[()])
    if _is_missing(given):
        return None
    if isinstance(given, date | np.datetime64):
        return _instant_text(name, _instant(given))
    if isinstance(given, np.bool_ | bool):
        return bool(given)
    if isinstance(given, str):
        return str.__str__(given)
    if isinstance(given, int | np.integer):
        return int(given)
    if isinstance(given, float | np.floating | Decimal):
        return float(given)
    raise Unfit(f"{name} must be a number, text, true, false or null, got {type(given).__name__}")


def _instant_text(name: str, given: Any) -> str:
    try:
        return format_instant(instant_s(given)) if isinstance(given, datetime) else date.isoformat(given)
    except (TypeError, ValueError, OverflowError, OSError):
        raise Unfit(f"{name}: {shown(given)} is not an instant of the years 1..9999") from None


def _text(name: str, given: str) -> str:
    if len(given) > MAX_TEXT_CHARS:
        raise Unfit(f"{name} may have {MAX_TEXT_CHARS} characters at most, got {len(given)}")
    if not given.isascii():
        try:
            given.encode()
        except UnicodeEncodeError:
            raise Unfit(f"{name} holds half of a surrogate pair, which cannot be encoded, got {shown(given)}") from None
    return given


def _finite(name: str, given: float) -> float | None:
    if math.isinf(given):
        raise Unfit(f"{name} must be finite, got {given!r}")
    return None if math.isnan(given) else given


def _huge(name: str, given: int) -> float:
    """The float of an integer beyond 64 bits."""
    try:
        return float(given)
    except OverflowError:
        raise Unfit(f"{name}: {shown(given)} is not a number that fits") from None
