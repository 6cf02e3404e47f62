"""Merge patches: whatever two documents are, the patch between them turns one into the other."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace_console.core.patches import apply, patch

NAMES = st.text("abc", min_size=1, max_size=2)
LEAVES = st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-1, 1) | st.text("xy", max_size=2)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=12
)
DOCUMENTS = st.dictionaries(NAMES, VALUES, max_size=5)


def without_nulls(value: Any) -> Any:
    """A document as a merge patch knows it: a member that is null is absent. Lists are values as a whole."""
    if not isinstance(value, dict):
        return value
    return {name: without_nulls(found) for name, found in value.items() if found is not None}


@settings(max_examples=60)
@given(DOCUMENTS, DOCUMENTS)
def test_the_patch_between_two_documents_turns_one_into_the_other(before: Any, after: Any) -> None:
    assert without_nulls(apply(patch(before, after), before)) == without_nulls(after)


@settings(max_examples=60)
@given(DOCUMENTS)
def test_a_document_that_did_not_change_needs_no_patch(value: Any) -> None:
    assert patch(value, value) == {}
    assert patch(value, without_nulls(value)) == {}


@settings(max_examples=60)
@given(DOCUMENTS, DOCUMENTS, DOCUMENTS)
def test_changes_that_are_applied_a_second_time_in_their_order_change_nothing(a: Any, b: Any, c: Any) -> None:
    """A page that connects again may be sent changes that it has."""
    changes = [patch(a, b), patch(b, c)]
    value = c
    for change in changes:
        value = apply(change, value)
    assert without_nulls(value) == without_nulls(c)


def test_a_patch_holds_what_changed_and_nothing_else() -> None:
    before = {"rows": {"a": {"n": 1, "text": "x"}, "b": {"n": 2}}, "word": "well"}
    after = {"rows": {"a": {"n": 3, "text": "x"}, "c": {"n": 4}}, "word": "well"}
    assert patch(before, after) == {"rows": {"a": {"n": 3}, "b": None, "c": {"n": 4}}}


def test_true_is_not_one() -> None:
    assert patch({"is_open": 1}, {"is_open": True}) == {"is_open": True}
