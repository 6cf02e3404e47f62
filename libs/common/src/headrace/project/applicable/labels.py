"""What needs a label, and labels with too few classes."""

from collections.abc import Iterator

from headrace.events import definition as d
from headrace.project.applicable.wording import A_LABEL
from headrace.project.deployments import Deployment
from headrace.project.rules.sentences import Sentence
from headrace.stats.losses import BINARY, CLASSES, NUMBER

# The gates of a deployment that declares none.
USUAL_GATES = tuple(d.GateDefinition(gate.kind, gate.margin) for gate in Deployment("d", "u", ()).gates)


def label_refusals(what: str, found: d.DeploymentDefinition) -> Iterator[Sentence]:
    """Refusals that concern the label of one deployment."""
    if found.label is None:
        yield from _without(what, found)
    else:
        yield from _of_classes(what, found.label)


def _without(what: str, found: d.DeploymentDefinition) -> Iterator[Sentence]:
    """What is declared although it needs a label."""
    asks = {
        "training": found.training is not None,
        "monitoring": bool(found.monitoring) or found.charts is not None,
        "gates": found.gates not in (USUAL_GATES, ()),
        "retraining": found.retraining is not None,
    }
    for name, is_there in asks.items():
        if is_there:
            yield Sentence(f"{what}: {name} needs a label, such as {A_LABEL}", (name,))


def _of_classes(what: str, label: d.LabelDefinition) -> Iterator[Sentence]:
    count, place = len(label.classes), ("label", "classes")
    if label.kind == CLASSES and count < 2:
        yield Sentence(
            f"{what}: Multiclass needs at least two classes, got {count}: name them all in classes=[...]", place
        )
    if label.kind == BINARY and count not in (0, 2):
        yield Sentence(
            f"{what}: Binary has two classes, the negative one first, got {count}: use Multiclass for more", place
        )
    if label.kind == NUMBER and (label.low is None or label.high is None):
        yield Sentence(f"{what}: Regression needs low and high, the range of its numbers", ("label",))
