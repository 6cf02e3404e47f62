"""Which labels a deployment takes, and their numbers: the same for pipelines, monitor, trainer and CLI.

| kind    | declared by  | a label is                                               | as a number              |
|---------|--------------|----------------------------------------------------------|--------------------------|
| binary  | `Binary`     | the name of a class; 0 or 1, where no name is a number   | 0.0 or 1.0               |
| classes | `Multiclass` | the name of a class; its index where it is unambiguous   | the index of the class   |
| number  | `Regression` | a finite number within the declared range                | itself                   |

An index is unambiguous where classes have no names, or names in alphabetical order none of which is a number: encoders
number them so. In another order an encoder's index is not that of the declaration. For two classes, 0 and 1 are
positions unless a name contradicts them ("1", "2").
"""

import math
from collections.abc import Sequence

from headrace.errors import Poison
from headrace.events.definition import DeploymentDefinition, LabelDefinition

BINARY, NUMBER, CLASSES = "binary", "number", "classes"
# The largest float32: scores are compared with labels in float32.
LARGEST = 3.4028234663852886e38
_MOST_CLASSES = 10_000
_SHOWN = 10
_FLAGS = ("False", "True")

Label = float | str | bool


def value_of(label: LabelDefinition, value: Label) -> float:
    """A label as a number, see the table. Raises `Poison` with the reason when the value is no label of this kind.

    >>> value_of(LabelDefinition("kind", "classes", 60.0, classes=("cat", "dog")), "dog")
    1.0
    >>> value_of(LabelDefinition("grade", "classes", 60.0, classes=("1", "2", "3")), 1)
    0.0
    """
    why = why_not_label(label, value)
    if why is not None:
        raise Poison(why, "label")
    place = _place_of(label, value)
    return float(value) if place is None else float(place)


def why_not_label(label: LabelDefinition, value: Label) -> str | None:
    """Why a value is no label of this kind; None when it is one.

    >>> why_not_label(LabelDefinition("late", "binary", 60.0), 2.0)
    "the label of 'late' must be 0 or 1, got 2.0"
    """
    if _place_of(label, value) is not None:
        return None
    got = f"got {value!r}" if len(repr(value)) <= 100 else f"got {value!r:.100}..."
    what = f"the label of {label.name!r} must be"
    if label.kind == BINARY:
        by_place = ("0", "1") if _may_go_by_place(label.classes) else ()
        if by_place and not isinstance(value, str) and value in (0, 1):
            return None
        return f"{what} {' or '.join(dict.fromkeys((*by_place, *label.classes)))}, {got}"
    if label.kind == CLASSES:
        return _why_no_class(label, value, f"{what} ", got)
    if isinstance(value, str | bool):
        return f"{what} a number, {got}"
    if not math.isfinite(value) or abs(value) > LARGEST:
        return f"{what} a finite number, at most {LARGEST:g} in size, {got}"
    low, high = label.low, label.high
    if (low is not None and value < low) or (high is not None and value > high):
        least, most = ("-" if found is None else f"{found:g}" for found in (low, high))
        return f"{what} in {least}..{most}, {got}"
    return None


def why_not_outcome(name: str, deployment: DeploymentDefinition | None, value: Label) -> tuple[str, str] | None:
    """The field that makes an outcome of a deployment useless, and why; None when the outcome can be used.

    >>> why_not_outcome("late", None, 1)
    ('deployment', "no project declares the deployment 'late'")
    """
    if deployment is None:
        return "deployment", f"no project declares the deployment {name!r}"
    if deployment.label is None:
        return "deployment", f"the deployment {name!r} declares no label, so it takes no outcomes"
    why = why_not_label(deployment.label, value)
    return None if why is None else ("label", why)


def are_plain(classes: Sequence[str]) -> bool:
    """Whether these are not names, but what a model was trained on without names.

    That is 0, 1, ...; 0.0, 1.0, ...; or False and True.

    >>> are_plain(("0", "1")), are_plain(("no", "yes")), are_plain(("1", "2"))
    (True, False, False)
    """
    plain = tuple(str(number) for number in range(len(classes)))
    return tuple(classes) in (plain, tuple(f"{number}.0" for number in plain), _FLAGS)


def places_of(label: LabelDefinition, classes: Sequence[str]) -> tuple[int, ...] | None:
    """The positions of a model's classes among a label's, by name.

    () means the same order; None means that a class of the model is not one of the label. Classes without names are
    those of the label in its order.

    >>> places_of(LabelDefinition("kind", "classes", 60.0, classes=("cat", "dog", "owl")), ("owl", "cat"))
    (2, 0)
    """
    wanted = label.classes
    if not wanted or not classes or tuple(classes) == wanted:
        return ()
    if are_plain(classes) or are_plain(wanted):
        return () if len(classes) == len(wanted) else None
    found = [_place_of_name(label, name) for name in classes]
    places = tuple(place for place in found if place is not None)
    if len(places) < len(found) or len(set(places)) < len(places):
        return None
    return () if places == tuple(range(len(wanted))) else places


def are_its_answers(kind: str, wanted: Sequence[str], output: str, classes: Sequence[str]) -> bool:
    """Whether scores of the kind `output`, of `classes` in their order, answer a label of `kind` with the classes
    `wanted`.

    What is unknown does not count against them: either may name no classes, or give numbers as names.

    >>> cats = ("cat", "dog")
    >>> are_its_answers("classes", cats, "classes", cats), are_its_answers("classes", cats, "classes", ("dog", "cat"))
    (True, False)
    """
    if kind != output:
        return False
    if output == NUMBER or not wanted or not classes:
        return True
    return len(wanted) == len(classes) and (tuple(classes) == tuple(wanted) or are_plain(classes) or are_plain(wanted))


def why_no_rollout_verdict(label: LabelDefinition | None) -> str | None:
    """Why no label can ever show a version under rollout to be no worse (PASS); None when labels can.

    Such a rollout ends by its guardrails or by a person. Labels that are numbers without a range can still reject a
    version (FAIL): it may rank worse.

    >>> why_no_rollout_verdict(LabelDefinition("price", "number", 60.0))
    "the label 'price' is a number without low and high: its error has no bound, so it can only show a worse ranking"
    >>> why_no_rollout_verdict(LabelDefinition("price", "number", 60.0, low=0.0, high=9.0)) is None
    True
    """
    if label is None:
        return "no label is declared"
    if label.kind == NUMBER and (label.low is None or label.high is None):
        why = "its error has no bound, so it can only show a worse ranking"
        return f"the label {label.name!r} is a number without low and high: {why}"
    if label.kind == CLASSES and len(label.classes) < 2:
        return f"the label {label.name!r} names no classes, or one only"
    return None


def _may_go_by_place(classes: Sequence[str]) -> bool:
    """Whether 0 and 1 may mean the positions of two classes: no class is named by a number or boolean of another
    position.

    >>> _may_go_by_place(("no", "yes")), _may_go_by_place(("false", "true")), _may_go_by_place(("1", "2")), _may_go_by_place(("True", "False"))
    (True, True, False, False)
    """
    truths = {"false": 0.0, "true": 1.0}
    meant = [float(name) if is_number(name) else truths.get(name.lower()) for name in classes]
    return all(number in (None, place) for place, number in enumerate(meant))


def _place_of_name(label: LabelDefinition, name: str) -> int | None:
    """The position of a model's class. NB: a model trained on 1.0 and 2.0 knows the classes "1" and "2"."""
    if name in label.classes or not is_number(name):
        return _place_of(label, name)
    return _place_of(label, float(name))


def _place_of(label: LabelDefinition, value: Label) -> int | None:
    """The position of the class that a label names; None where it names none, and where labels are not classes."""
    if label.kind == NUMBER or not label.classes:
        return None
    if isinstance(value, str):
        return label.classes.index(value) if value in label.classes else None
    # NB: among classes named 1, 2, 3 the number 1 is the first class, not the one at position 1.
    names = _as_texts(value)
    return next((label.classes.index(name) for name in names if name in label.classes), None)


def _as_texts(value: float | bool) -> tuple[str, ...]:
    if isinstance(value, bool):
        return str(value), str(value).lower()
    if math.isfinite(value) and float(value).is_integer() and abs(value) < 2**53:
        return str(int(value)), str(float(value))
    return (str(value),)


def _why_no_class(label: LabelDefinition, value: Label, what: str, got: str) -> str | None:
    shown = ", ".join(label.classes[:_SHOWN]) + (", ..." if len(label.classes) > _SHOWN else "")
    named = f"{what}one of {shown}, {got}"
    if isinstance(value, str | bool) or any(is_number(name) for name in label.classes):
        return named if label.classes else f"{what}the index of a class, {got}"
    if list(label.classes) != sorted(label.classes):
        return f"{named}: give its name, since most encoders number classes alphabetically and the declaration does not"
    # Where the definition does not name the classes, their number is not known.
    highest = (len(label.classes) or _MOST_CLASSES) - 1
    if float(value).is_integer() and 0 <= value <= highest:
        return None
    return f"{what}the index of a class, 0 to {highest}, {got}"


def is_number(name: str) -> bool:
    """Whether the name of a class is a number.

    >>> is_number("1.0"), is_number("late")
    (True, False)
    """
    try:
        float(name)
    except ValueError:
        return False
    return True
