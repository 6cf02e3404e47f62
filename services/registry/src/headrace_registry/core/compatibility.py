"""Whether what a version gives is what its deployment's labels say, and what the version that it is compared with gives.

They are compared where they meet: a version is registered for a label, and a rollout compares two versions. Otherwise a score of another
kind, or of classes in another order, would be served, and its evidence counted, without a word. What is merely not known is not
refused: a label or a version may name no classes, or call them by numbers; of two versions one may have new names.
"""

from collections.abc import Sequence

from headrace.events.definition import LabelDefinition
from headrace.events.registry import RegisterVersion, VersionRegistered
from headrace.project.labels import are_its_answers, are_plain

_BINARY, _CLASSES, _NUMBER = "binary", "classes", "number"
_SHOWN = 10


def label_mismatch(label: LabelDefinition | None, output: str, classes: Sequence[str]) -> str | None:
    """Why a version cannot answer for what is labelled; None when it can.

    >>> label_mismatch(LabelDefinition("late", "binary", 60.0), "number", ())
    "the model gives a number, and the label 'late' wants the probability of one class: register such a model, say `--output binary` where that is what it gives, or declare another label"
    """
    if label is None or are_its_answers(label.kind, label.classes, output, classes):
        return None
    wanted = _described(label.kind, label.classes)
    # A model that gives a column of numbers does not say what they are.
    hint = f", say `--output {label.kind}` where that is what it gives" if output == _NUMBER != label.kind else ""
    way = f"register such a model{hint}, or declare another label"
    return f"the model gives {_described(output, classes)}, and the label {label.name!r} wants {wanted}: {way}"


def classes_mismatch(command: RegisterVersion) -> str | None:
    """Why the classes of a version are not those of its file; None when they may be."""
    places, count = command.class_places, len(command.classes)
    if all(0 <= place < count for place in places) and len(set(places)) == len(places):
        return None
    return (
        f"class_places must be different places among its {count} classes, got {', '.join(map(str, places[:_SHOWN]))}"
    )


def control_mismatch(version: VersionRegistered, control: VersionRegistered) -> str | None:
    """Why two versions cannot be compared; None when they can.

    NB: a switch without a comparison may well change what is given: a class more, say.
    """
    kind = version.output
    if control.output == kind and _stand_alike(_named(kind, control.classes), _named(kind, version.classes)):
        return None
    ours, theirs = (_described(found.output, found.classes) for found in (version, control))
    return (
        f"version {version.version} gives {ours}, and the champion {control.version} gives {theirs}: they cannot be compared;"
        f" `headrace rollout start {version.deployment} {version.version} --policy blue-green` switches without a comparison"
    )


def _named(output: str, classes: Sequence[str]) -> Sequence[str]:
    return classes if output in (_BINARY, _CLASSES) else ()


def _stand_alike(ours: Sequence[str], theirs: Sequence[str]) -> bool:
    """Whether two versions have as many classes, and none that both name stands in another place."""
    if not ours or not theirs:
        return True
    if len(ours) != len(theirs):
        return False
    if are_plain(ours) or are_plain(theirs):
        return True
    places = {name: place for place, name in enumerate(ours)}
    return all(places.get(name, place) == place for place, name in enumerate(theirs))


def _described(kind: str, classes: Sequence[str]) -> str:
    if kind == _BINARY:
        of = f"{classes[1][:80]} against {classes[0][:80]}" if len(classes) == 2 else "one class"
        return f"the probability of {of}"
    if kind != _CLASSES:
        return f"a {kind}"
    if not classes:
        return "several classes"
    more = ", ..." if len(classes) > _SHOWN else ""
    names = ", ".join(name[:80] for name in classes[:_SHOWN])
    return f"{len(classes)} class{'' if len(classes) == 1 else 'es'} ({names}{more})"
