"""What a version answers: the kind of its output and its classes, agreed between the model's file, the user and the deployment's label.

| the file gives        | `--output`          | then                                                     |
|-----------------------|---------------------|----------------------------------------------------------|
| a number              | none, number        | a number                                                 |
| a number              | binary              | a probability, where it is no scikit-learn regressor     |
| probabilities         | none, the same      | those                                                    |
| several, nobody knows | binary, classes     | that                                                     |
| several, nobody knows | none                | refused: they may be several targets                     |

Classes are the label's, in its order, where it names them: a model's own names meet them by name, whatever their order. A file
without names (XGBoost, LightGBM, some ONNX graphs, scikit-learn's fitted on codes of several) takes the label's where these are in alphabetical order, which is also
the order that encoders of labels make; where they are not, `--classes` says the model's order.
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
    """`classes`: of the version, in the label's order. `places`: where the model's stand among them, () where they are the same."""

    output: str
    classes: tuple[str, ...] = ()
    places: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


def agreed_answers(
    engine: Engine, label: LabelDefinition | None, output: str | None = None, classes: Sequence[str] = ()
) -> Answers:
    """What a version answers, see the table. `classes`: what the user says they are, in the model's order. Raises `Misconfigured`."""
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
    """Whether it was fitted on rows of two of a label's several classes: it answers as a model of two does."""
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
                f"the graph gives {width} numbers a row, and nothing in it says what they are: several targets cannot be served,"
                " register one model each; where they are probabilities of classes, say --output"
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
    also = ", say --output binary where the number is a probability" if may_be_share else ""
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
    """Of a label that names no classes. Its outcomes are 0 and 1, whatever the model calls these."""
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
    """A model's class as the label calls it. NB: one that was fitted on 1.0 and 2.0 knows the label's 1 and 2."""
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
            "say what they are called, in this order, with --classes"
            if all(map(is_number, own))
            else "declare the label's classes by the model's names"
        )
        raise Misconfigured(
            f"the model's classes are {', '.join(own)}, and the label {label.name!r} has {', '.join(wanted)}: {remedy}"
        )
    # NB: 0 and 1 of a scikit-learn model are those of a `Binary`, whose `classes` say what they are called; several have no such order.
    has_known_order = isinstance(engine, SkopsEngine) and kind == BINARY
    if not has_known_order and list(wanted) != _in_order(wanted):
        raise Misconfigured(
            f"the model's file does not name its classes, and the label {label.name!r} has {', '.join(wanted)}, which is not the"
            f" alphabetical order of most encoders: say the model's own order with --classes, such as --classes {','.join(_in_order(wanted))}"
        )
    return Answers(
        kind, wanted, (), (f"class {own[0]} of the model is {wanted[0]!r}, class {own[-1]} is {wanted[-1]!r}",)
    )


def range_note(label: LabelDefinition | None, proven: Sequence[GoldenRow]) -> tuple[str, ...]:
    """What to tell of a model most of whose numbers no label can be: it was trained in another unit, perhaps."""
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
    """As encoders of labels put them: numbers by size, words by their letters."""
    return sorted(names, key=float) if all(map(is_number, names)) else sorted(names)
