"""Which category values a scikit-learn pipeline knows, per input column, read from its encoders.

The walk goes through pipelines, column transformers, unions, imputers that keep their columns, searches, calibrations
and ensembles. Members of an ensemble may know different values; the result is their union.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.errors import Poison
from headrace.features.precision import as_sent
from headrace.models.trees import walk

_ENCODERS = ("OneHotEncoder", "OrdinalEncoder", "TargetEncoder")
_TEXTS = ("CountVectorizer", "TfidfVectorizer", "HashingVectorizer", "FeatureHasher", "DictVectorizer")
_MEMBERS = ("best_estimator_", "estimator_", "estimator", "regressor_", "_preprocessor")
_LISTS = ("estimators_", "calibrated_classifiers_")

Names = Sequence[str]


@dataclass(frozen=True)
class Known:
    """`vocabularies`: per column the texts that its encoders know, in order. `numbers`: the numbers that they know
    instead.
    """

    vocabularies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    numbers: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


def known_to(estimator: Any, names: Names) -> Known:
    """What an estimator's encoders know of its columns, `names` in its order.

    Raises `Poison` for a value that no row can hold.
    """
    vocabularies: dict[str, dict[str, None]] = {}
    numbers: dict[str, set[float]] = {}
    for name, category in _categories(estimator, list(names)):
        if any(value is None for value in category):
            raise Poison(
                f"the encoder of {name} knows None, and a missing value is NaN: train it with NaN, or with a text for it"
            )
        texts = [value for value in category if isinstance(value, str)]
        vocabularies.setdefault(name, {}).update(dict.fromkeys(texts))
        if not texts:
            numbers.setdefault(name, set()).update(float(value) for value in category if value == value)
    held = {name: tuple(found) for name, found in vocabularies.items() if found}
    return Known(held, {name: tuple(sorted(found)) for name, found in numbers.items() if name not in held})


def encoders_of(estimator: Any, names: Names) -> Iterator[tuple[Any, list[str]]]:
    """Fitted encoders, each with those of `names` (all columns, in order) that reach it unchanged."""
    yield from _encoders(estimator, list(names), 0)


def know_as_rows_hold(estimator: Any, names: Names) -> None:
    """Replace the encoders' numbers by their float32, so that a request's 0.1 is the 0.1 that they were fitted on.

    `names`: of its columns, in its order. Numbers that float32 cannot distinguish (100000001, 100000002) are left as
    they are; the load check finds that rows lose them.
    """
    _know(estimator, names, _as_held)


def know_as_sent(estimator: Any, names: Names) -> None:
    """Replace the encoders' numbers by those that a frame holds (`as_sent`). `names`: of its columns, in its order."""
    _know(estimator, names, _as_sent)


def _know(estimator: Any, names: Names, change: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
    for step, given in encoders_of(estimator, names):
        if len(step.categories_) == len(given):
            step.categories_ = [change(known) for known in step.categories_]


def _as_sent(known: NDArray[Any]) -> NDArray[Any]:
    if known.dtype != np.float64:
        return known
    with np.errstate(over="ignore"):
        held = known.astype(np.float32)
    return np.where(held == known, as_sent(held), known)


def _as_held(known: NDArray[Any]) -> NDArray[Any]:
    if known.dtype != np.float64:
        return known
    with np.errstate(over="ignore"):
        held = known.astype(np.float32)
    is_distinct = len(np.unique(held)) == len(np.unique(known)) and np.array_equal(np.isinf(held), np.isinf(known))
    return held.astype(np.float64) if is_distinct else known


def wants_names(estimator: Any) -> bool:
    """Whether the estimator only takes a data frame: a part of it selects columns by name, or passes frames on."""
    return any(_chooses_by_name(found) or _gives_frames(found) for found, _ in walk(estimator))


def refuse_texts(estimator: Any) -> None:
    """Raise `Poison` for a pipeline that reads free text, since a row only holds known category values."""
    for found, _ in walk(estimator):
        kind = type(found).__name__
        if kind in _TEXTS and type(found).__module__.startswith("sklearn."):
            raise Poison(
                f"{kind} reads free text, and a row holds numbers and the codes of known texts:"
                " vectorise before the request, and declare the vector's values as Number inputs"
            )


def _chooses_by_name(found: Any) -> bool:
    if type(found).__name__ != "ColumnTransformer":
        return False
    return any(
        isinstance(name, str)
        for _, step, columns in getattr(found, "transformers_", ())
        for name in _listed(columns)
        if step != "drop"
    )


def _gives_frames(found: Any) -> bool:
    config = getattr(found, "__dict__", {}).get("_sklearn_output_config")
    return isinstance(config, dict) and config.get("transform") in ("pandas", "polars")


def _listed(columns: Any) -> list[Any]:
    if isinstance(columns, str | slice):
        return [columns]
    return np.asarray(columns, object).ravel().tolist()


def _categories(estimator: Any, names: list[str]) -> Iterator[tuple[str, Sequence[Any]]]:
    """Per column that reaches an encoder unchanged: the encoder's values."""
    for step, given in encoders_of(estimator, names):
        if len(step.categories_) == len(given):
            yield from zip(given, (category.tolist() for category in step.categories_), strict=True)


def _encoders(step: Any, names: list[str], depth: int) -> Iterator[tuple[Any, list[str]]]:
    """Encoders, each with the columns that reach it unchanged. `names`: of those that reach `step`."""
    kind = type(step).__name__
    if depth > 20 or not names:
        return
    if kind in _ENCODERS:
        if hasattr(step, "categories_"):
            yield step, names
    elif hasattr(step, "steps"):
        yield from _of_pipeline(step, names, depth)
    elif kind == "ColumnTransformer":
        for _, part, columns in getattr(step, "transformers_", ()):  # an unfitted template of a search has none
            yield from _encoders(part, _chosen(names, columns), depth + 1)
    elif kind == "FeatureUnion":
        for _, part in step.transformer_list:
            yield from _encoders(part, names, depth + 1)
    else:
        for member in _members(step):
            yield from _encoders(member, names, depth + 1)


def _of_pipeline(pipeline: Any, names: list[str], depth: int) -> Iterator[tuple[Any, list[str]]]:
    for _, step in pipeline.steps:
        yield from _encoders(step, names, depth + 1)
        if not _keeps_columns(step, names):
            return


def _keeps_columns(step: Any, names: list[str]) -> bool:
    if step is None or step == "passthrough":
        return True
    if type(step).__name__ == "FunctionTransformer":
        return step.func is None
    if type(step).__name__ != "SimpleImputer" or step.add_indicator:
        return False
    # A search, a calibration or an ensemble also keeps its template, which is not fitted.
    fills = getattr(step, "statistics_", ())
    dropped = [value for value in fills if isinstance(value, float) and value != value]
    return len(fills) == len(names) and not dropped


def _chosen(names: list[str], columns: Any) -> list[str]:
    if isinstance(columns, slice):
        return names[columns] if not isinstance(columns.start, str) and not isinstance(columns.stop, str) else []
    listed = _listed(columns)
    if listed and all(isinstance(found, bool) for found in listed):
        return [name for name, is_chosen in zip(names, listed, strict=False) if is_chosen]
    return [found if isinstance(found, str) else names[found] for found in listed]


def _members(step: Any) -> Iterator[Any]:
    inside = getattr(step, "__dict__", None) or {}
    for name in _MEMBERS:
        if inside.get(name) is not None:
            yield inside[name]
    for name in _LISTS:
        found = inside.get(name)
        yield from found.ravel().tolist() if isinstance(found, np.ndarray) else found if isinstance(found, list) else ()
