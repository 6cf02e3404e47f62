"""The preview header: a version's number, of at most nine digits; anything else is passed over."""

import pytest

from headrace.asking.headers import VERSION
from headrace.asking.routing import PREVIEW, assign
from headrace.events.registry import Route

ROUTE = Route("d", {3: 1.0}, "s", 1)


@pytest.mark.parametrize("header", [b"1", b"42", b"999999999"])
def test_a_number_of_at_most_nine_digits_names_the_version(header: bytes) -> None:
    assert assign(ROUTE, "u", {VERSION: header}) == (int(header), PREVIEW, 3)


@pytest.mark.parametrize("header", [b"", b"-1", b"+1", b"1.0", b" 1", b"x", "٣".encode(), b"1000000000", b"9" * 5000])
def test_what_is_no_number_or_too_long_leaves_the_unit_to_the_shares(header: bytes) -> None:
    """NB: 5000 digits are more than Python turns into a number: without the guard one header would stop the partition."""
    assert assign(ROUTE, "u", {VERSION: header}) == (3, "", None)


def test_a_preview_without_a_route_has_nobody_below_it() -> None:
    assert assign(None, "u", {VERSION: b"7"}) == (7, PREVIEW, None)
