"""What the record says against a plan: settings with which labels would judge late, wrongly or never."""

import math
from collections.abc import Iterator

import numpy as np

from headrace.events.definition import RolloutDefinition
from headrace.project.applicable.wording import duration
from headrace.stats.planning import LEAST_CYCLES, labels_to_broken
from headrace.stats.scores import differences
from headrace.stats.seasons import missed_season, seasons_of
from headrace.stats.variants import with_noise
from headrace_cli.simulation.recorded import Recorded, scaled
from headrace_cli.simulation.sample import Sample

DAY_S = 86_400.0
# After so many labels nine of ten broken rankings were found on the flights, where the own record is too short to say.
USUAL_LABELS_TO_BROKEN = 2_500.0
# Fewer missing labels than these need no warning.
_FEW_MISSING = 0.01
_SEED = 12


def notes_of(found: Recorded, sample: Sample, plan: RolloutDefinition) -> list[str]:
    """The warnings, a sentence each."""
    return [*_missing(found, sample, plan), *_window(found, sample, plan), *_season(found, plan)]


def _missing(found: Recorded, sample: Sample, plan: RolloutDefinition) -> Iterator[str]:
    """Missing labels that count as the worst outweigh the margin: not even a version that is as good can pass."""
    margin, share, record = sample.judging.margin, found.missing_share, sample.record
    if plan.missing != "worst" or share < _FEW_MISSING or not sample.cycles or not 0 < margin < math.inf:
        return
    try:
        rng = np.random.default_rng(_SEED)
        worse = with_noise(record.kind, record.control, record.labels, margin, rng)
    except ValueError:
        return
    worst = float(differences(record.kind, worse, record.control, record.labels).high.mean())
    if share * worst >= margin:
        yield (
            f'{share:.0%} of the labels never come: with missing="worst" labels will not judge this;'
            ' missing="at_random" would'
        )


def _window(found: Recorded, sample: Sample, plan: RolloutDefinition) -> Iterator[str]:
    """A rollback window that ends before its labels could show that a ranking is broken."""
    if plan.policy != "blue_green" or not plan.shadow_previous or not found.days:
        return
    is_known = sample.cycles >= LEAST_CYCLES
    wanted = labels_to_broken(sample.record, sample.judging) if is_known else USUAL_LABELS_TO_BROKEN
    a_day, window = found.labelled / max(found.days, 1.0), f"the rollback window {duration(plan.rollback_window_s)}"
    delay_s = plan.delay_s(found.label)
    coming = a_day * max(plan.rollback_window_s - delay_s, 0.0) / DAY_S
    if math.isinf(wanted):
        yield f"a version that ranks by chance is not found by labels within {sample.judging.cycles} cycles: {window} protects by guardrails only"
    elif coming < wanted and a_day > 0:
        days = math.ceil(wanted / a_day + delay_s / DAY_S)
        yield (
            f"{window} brings about {coming:,.0f} labels, and a version that ranks by chance is found after about"
            f' {wanted:,.0f}: rollback_window="{days}d" would hold them'
        )


def _season(found: Recorded, plan: RolloutDefinition) -> Iterator[str]:
    """A pattern of the champion's score that the declared season does not contain."""
    known = np.flatnonzero(~np.isnan(found.labels))
    labels, scores = scaled(found, found.labels[known]), scaled(found, found.scores[known])
    scored = differences(found.label.kind, scores, scores, labels).control
    missed_s = missed_season(seasons_of(found.at_s[known], scored), plan.season_s)
    if missed_s is not None:
        declared = "None" if plan.season_s is None else f'"{duration(plan.season_s)}"'
        pattern = duration(missed_s)
        yield (
            f"the champion's loss repeats itself every {pattern}, which season={declared} does not contain:"
            f' declare season="{pattern}"'
        )
