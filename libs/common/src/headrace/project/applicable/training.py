"""Training with rows to fit on, and gates that a version can pass and can fail.

Of the history, the newest part as long as `horizon` has no labels yet; the `holdout` before it is used by the gates;
the `embargo` before that is left out; older rows are fitted on. Margins are in the label's loss: a constant guess costs
at most ln(classes) nats, or one variance for numbers.
"""

import math
from collections.abc import Iterator

from headrace.events import definition as d
from headrace.project.applicable.labels import USUAL_GATES
from headrace.project.applicable.wording import KINDS, duration
from headrace.project.rules.sentences import Sentence
from headrace.stats.losses import NUMBER


def training_refusals(what: str, found: d.DeploymentDefinition) -> Iterator[Sentence]:
    """Refusals that concern the training and the gates of one deployment."""
    if found.label is None:
        return
    if found.training is not None:
        yield from _history(what, found, found.training, found.label)
    elif found.gates not in (USUAL_GATES, ()):
        problem = "gates judge the versions that are trained here: add training=Training(build), or leave gates out"
        yield Sentence(f"{what}: {problem}", ("gates",))
    for number, gate in enumerate(found.gates):
        if gate.kind in [other.kind for other in found.gates[:number]]:
            yield Sentence(f"{what}: gate {gate.kind} is declared twice", ("gates", number))
        yield from _margin(what, number, gate, found.label)


def _history(
    what: str, found: d.DeploymentDefinition, training: d.TrainingDefinition, label: d.LabelDefinition
) -> Iterator[Sentence]:
    history_s, taken_s = training.history_s, label.horizon_s + training.holdout_s + training.embargo_s
    parts = (
        f"horizon {duration(label.horizon_s)} + holdout {duration(training.holdout_s)}"
        f" + embargo {duration(training.embargo_s)} = {duration(taken_s)}"
    )
    if taken_s >= history_s:
        problem = f"history {duration(history_s)} leaves no rows to fit on: {parts}"
        places = ("training", "history"), ("training", "holdout"), ("training", "embargo"), ("label", "horizon")
        yield Sentence(f"{what}: {problem}; give a longer history, or a shorter holdout", *places)
    if training.first_after_rows is not None and training.first_after_rows < training.min_rows:
        problem = (
            f"first_after_rows {training.first_after_rows:,} is fewer than min_rows {training.min_rows:,} to fit on"
        )
        places = ("training", "first_after_rows"), ("training", "min_rows")
        yield Sentence(f"{what}: {problem}: ask for more, or fit on less", *places)
    if found.evaluation_window_s > history_s:
        problem = (
            f"evaluation_window {duration(found.evaluation_window_s)} is longer than history {duration(history_s)}"
        )
        yield Sentence(f"{what}: {problem}", ("evaluation_window",), ("training", "history"))


def _margin(what: str, number: int, gate: d.GateDefinition, label: d.LabelDefinition) -> Iterator[Sentence]:
    most = 1.0 if label.kind == NUMBER else math.log(max(len(label.classes), 2))
    unit = "of the labels' variance" if label.kind == NUMBER else "nats"
    place, kind = ("gates", number, "margin"), KINDS[label.kind]
    if gate.kind == "beats_prior" and gate.margin < 0:
        yield Sentence(
            f"{what}: beats_prior(margin={gate.margin:g}) lets a version pass that is worse than the prior", place
        )
    elif gate.margin >= most:
        passes = "no version can pass" if gate.kind == "beats_prior" else "every version would pass"
        problem = (
            f"a margin of {gate.kind} for {kind} is a part {unit}"
            if label.kind == NUMBER
            else f"a margin of {gate.kind} for {kind} is in {unit}"
        )
        yield Sentence(f"{what}: {problem}, below {most:.3g}, got {gate.margin:g}: {passes}", place)
