"""The answers of a version: the kind of its output and its classes, from the model's file, the user's options and the deployment's label.

| the file gives        | `--output`          | then                                                     |
|-----------------------|---------------------|----------------------------------------------------------|
| a number              | none, number        | a number                                                 |
| a number              | binary              | a probability, unless it is a scikit-learn regressor     |
| probabilities         | none, the same      | probabilities                                            |
| several, unmarked     | binary, classes     | probabilities of classes                                 |
| several, unmarked     | none                | refused: they may be several targets                     |

Classes are those of the label, in its order, if it names them; the model's own names are matched by name, in any order. A file
without names (XGBoost, LightGBM, some ONNX graphs, scikit-learn fitted on codes of several classes) gets the label's names if these are in
alphabetical order, which is the order of label encoders. Otherwise `--classes` gives the model's order.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from headrace.errors import Misconfigured
from headrace.events.definition import LabelDefinition
from headrace.events.registry import GoldenRow
from headrace.models.engine import BINARY, CLASSES, NUMBER, UNCLEAR, Engine
from headrace.models.matching import is_plain
from headrace.models.skops_format import SkopsEngine
from headrace.project.labels import is_number

_KINDS = (BINARY, CLASSES, NUMBER)
_KIND_TEXTS = {
    BINARY: "the probabilities of two classes",
    CLASSES: "the probabilities of several classes",
    NUMBER: "a number",
}


@dataclass(frozen=True)
class Answers:
    """`classes`: of the version, in the label's order. `places`: the positions of the model's classes among them, () if they are the same."""

    output: str
    classes: tuple[str, ...] = ()
    places: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


def agreed_answers(
    engine: Engine, label: LabelDefinition | None, output: str | None = None, classes: Sequence[str] = ()
) -> Answers:
    """The answers of a version, see the table. `classes`: the user's names, in the model's order. Raises `Misconfigured`."""
    kind = _kind(engine, output)
    if output is None and _knows_two_of_them(engine, label):
        kind = CLASSES
    if label is not None and label.kind != kind:
        raise Misconfigured(_unlike(engine, label, kind))
    if kind == NUMBER:
        if classes:
            raise Misconfigured("--classes names classes, and the model predicts a number")
        return Answers(kind)
    own = _own(engine, kind, tuple(classes))
    if label is None or not label.classes:
        return _unnamed(kind, own, label)
    return _by_label(engine, kind, own, label)


def _knows_two_of_them(engine: Engine, label: LabelDefinition | None) -> bool:
    """Whether it was fitted on rows of only two of a label's classes, so that it answers like a model of two classes."""
    is_asked = label is not None and label.kind == CLASSES and engine.output == BINARY
    return is_asked and isinstance(engine, SkopsEngine) and set(engine.labels) < set(label.classes)


def _kind(engine: Engine, declared: str | None) -> str:
    if declared is not None and declared not in _KINDS:
        raise Misconfigured(f"--output must be binary, classes or number, got {declared!r}")
    found = engine.output
    if found == UNCLEAR:
        width = len(engine.labels)
        if declared is None:
            raise Misconfigured(
                f"the graph gives {width} numbers a row, and nothing in it marks what they are: several targets cannot be served,"
                " so register one model each; if they are probabilities of classes, pass --output"
                f" {BINARY if width == 2 else CLASSES}"
            )
        found = declared if declared == (BINARY if width == 2 else CLASSES) else f"{width} numbers"
    if declared in (None, found):
        return found
    if (found, declared) == (NUMBER, BINARY) and not isinstance(engine, SkopsEngine):
        return BINARY
    raise Misconfigured(
        f"the model gives {_KIND_TEXTS.get(found, found)}, it cannot be served with --output {declared}"
    )


def _unlike(engine: Engine, label: LabelDefinition, kind: str) -> str:
    if kind == CLASSES and len(engine.labels) == 1 and label.kind != NUMBER:
        return (
            f"the model knows one class only ({engine.labels[0]}), and the label {label.name!r} wants"
            f" {_KIND_TEXTS[label.kind]}: fit it on rows of each"
        )
    may_be_share = (label.kind, kind) == (BINARY, NUMBER) and not isinstance(engine, SkopsEngine)
    remedy = "register a classifier" if label.kind != NUMBER else "register a regressor"
    also = ", pass --output binary if the number is a probability" if may_be_share else ""
    return f"the model gives {_KIND_TEXTS[kind]}, and the label {label.name!r} wants {_KIND_TEXTS[label.kind]}: {remedy}{also}, or declare another label"


def _own(engine: Engine, kind: str, declared: tuple[str, ...]) -> tuple[str, ...]:
    labels = engine.labels or (("0", "1") if kind == BINARY else ())
    if not declared:
        return labels
    if len(declared) != len(labels) or len(set(declared)) != len(declared):
        raise Misconfigured(
            f"--classes names {', '.join(declared)}, and the model gives {len(labels)} classes: name each once, in its order"
        )
    is_permuted = set(declared) == set(labels) and not is_plain(labels)
    if declared != labels and (is_permuted or not all(map(is_number, labels))):
        raise Misconfigured(
            f"--classes says {', '.join(declared)}, the model's file says {', '.join(labels)}: leave --classes out"
        )
    return declared


def _unnamed(kind: str, own: tuple[str, ...], label: LabelDefinition | None) -> Answers:
    """The answers for a label without class names. Its outcomes are 0 and 1, whatever the model's names are."""
    if label is None or kind != BINARY:
        return Answers(kind, own)
    if own == ("1", "0"):
        return Answers(kind, ("0", "1"), (1, 0))
    if is_plain(own):
        return Answers(kind, own)
    named = ", ".join(f'"{name}"' for name in own)
    return Answers(
        kind,
        own,
        (),
        (
            f"outcomes of the label {label.name!r} are 0 for the model's class {own[0]} and 1 for its class {own[1]}:"
            f" declare Binary({label.name!r}, ..., classes=({named})) to give them by these names",
        ),
    )


def _as_named(name: str, wanted: Sequence[str]) -> str:
    """The label's name of a model's class. NB: a model that was fitted on 1.0 and 2.0 has the label's classes 1 and 2."""
    whole = name.removesuffix(".0")
    return whole if name not in wanted and whole in wanted else name


def _by_label(engine: Engine, kind: str, own: tuple[str, ...], label: LabelDefinition) -> Answers:
    wanted = tuple(label.classes)
    own = tuple(_as_named(name, wanted) for name in own)
    if set(own) <= set(wanted) and (len(own) == len(wanted) or kind == CLASSES):
        places = tuple(wanted.index(name) for name in own)
        lacking = [name for name in wanted if name not in own]
        notes = (f"it does not know {', '.join(lacking)}: their probability is 0",) if lacking else ()
        return Answers(kind, wanted, () if own == wanted else places, notes)
    if len(own) != len(wanted):
        raise Misconfigured(
            f"the model gives {len(own)} classes ({', '.join(own)}), and the label {label.name!r} has {len(wanted)} ({', '.join(wanted)})"
        )
    is_named = not all(map(is_number, own))
    if is_plain(wanted) and is_named and kind == BINARY:
        return Answers(kind, own)
    if not is_plain(own):
        remedy = (
            "name them in this order with --classes"
            if all(map(is_number, own))
            else "declare the label's classes by the model's names"
        )
        raise Misconfigured(
            f"the model's classes are {', '.join(own)}, and the label {label.name!r} has {', '.join(wanted)}: {remedy}"
        )
    # NB: 0 and 1 of a scikit-learn model are the outcomes of a `Binary`, whose `classes` name them in order; several classes have no such order.
    has_known_order = isinstance(engine, SkopsEngine) and kind == BINARY
    if not has_known_order and list(wanted) != _in_order(wanted):
        raise Misconfigured(
            f"the model's file does not name its classes, and the label {label.name!r} has {', '.join(wanted)}, which is not the"
            f" alphabetical order of most encoders: give the model's own order with --classes, such as --classes {','.join(_in_order(wanted))}"
        )
    return Answers(
        kind, wanted, (), (f"class {own[0]} of the model is {wanted[0]!r}, class {own[-1]} is {wanted[-1]!r}",)
    )


def range_note(label: LabelDefinition | None, proven: Sequence[GoldenRow]) -> tuple[str, ...]:
    """A note on a model with most of its numbers outside the label's range; it may have been trained in another unit."""
    if label is None or label.kind != NUMBER or label.low is None or label.high is None:
        return ()
    outside = [found.value for found in proven if not label.low <= found.value <= label.high]
    if 2 * len(outside) <= len(proven):
        return ()
    return (
        f"{len(outside)} of {len(proven)} rows that the contract allows get numbers that the label {label.name!r} cannot be"
        f" ({label.low:g} to {label.high:g}), such as {outside[0]:g}: was it trained in another unit?",
    )


def _in_order(names: Sequence[str]) -> list[str]:
    """The order of label encoders: numbers by size, words alphabetically."""
    return sorted(names, key=float) if all(map(is_number, names)) else sorted(names)
