"""What a run trains on, and how it ends where it trains on nothing: decisions on values."""

from typing import Any

import numpy as np
import pytest

from headrace.events.registry import ArtifactPlace, GateResult, Lineage, Signature, VersionRegistered
from headrace.events.training import RetrainAccepted
from headrace.project import Binary, Deployment, Number, Project, Training
from headrace.project.compile import compile_project
from headrace_flights.train import build
from headrace_trainer.core import endings
from headrace_trainer.core.registration import COMMAND_BYTES, why_too_large
from headrace_trainer.core.target import Target
from headrace_trainer.core.training_set import ChampionScores, LabelledRows, TrainingSet, choose_training_set

DAY = 86_400.0
ROWS = 6_000
NOW_S = 60 * DAY
SIGNATURE = Signature((), "d")
TRAINING = Training(build=build, history="60d", holdout="10d", embargo="1d", first_after="1d", min_rows=500)
DEPLOYMENT = compile_project(
    Project("p", [Deployment("d", "u", [Number("x")], label=Binary("y", "24h"), training=TRAINING)])
).deployments[0]


def rows(count: int = ROWS) -> LabelledRows:
    at_s = np.arange(count) * NOW_S / count
    return LabelledRows(np.zeros((count, 1), np.float32), np.arange(count) % 2.0, at_s, [{}] * count, {})


def champion(to_s: float, changed_at_s: float | None = None, wrong_from_s: float = NOW_S) -> ChampionScores:
    """Trained on rows up to `to_s`; right about all rows, and from `wrong_from_s` on wrong about all of them."""
    lineage = Lineage(request_to_s=to_s, changed_at_s=changed_at_s)
    place = ArtifactPlace("a", 0, 1, 1)
    registered = VersionRegistered(
        "d", "d", 3, place, "m", SIGNATURE, "binary", (), lineage, {}, (), "", 0, "t", 0.0, "c"
    )
    found = rows()
    is_right = (found.at_s < wrong_from_s) == (found.labels == 1)
    return ChampionScores(registered, np.where(is_right, 0.9, 0.1), to_s)


def chosen(changed_at_s: float | None, found: ChampionScores | None, count: int = ROWS) -> TrainingSet:
    accepted = RetrainAccepted("d", "run", "q", "drift", "", NOW_S, (), changed_at_s)
    return choose_training_set(DEPLOYMENT, accepted, Target("binary"), rows(count), NOW_S, SIGNATURE, found)


def test_a_change_holds_for_later_retrains_until_another_one_is_found() -> None:
    assert chosen(None, None).span.changed_at_s is None
    assert chosen(None, champion(30 * DAY, 12 * DAY)).span.changed_at_s == 12 * DAY
    assert chosen(20 * DAY, None).span.changed_at_s == 20 * DAY


def test_the_losses_of_a_champion_that_was_trained_before_the_change_show_where_it_lies() -> None:
    located = chosen(40 * DAY, champion(30 * DAY, wrong_from_s=42 * DAY))
    assert located.span.changed_at_s == pytest.approx(42 * DAY, abs=0.1 * DAY)
    assert located.after == pytest.approx(1800, abs=10)
    trained_after_it = chosen(40 * DAY, champion(50 * DAY, wrong_from_s=42 * DAY))
    assert (trained_after_it.span.changed_at_s, trained_after_it.parent) == (40 * DAY, 3)


def test_a_retrain_that_follows_a_change_waits_for_rows_beyond_it_and_the_end_says_so() -> None:
    found = chosen(57 * DAY, None)
    assert (found.after, found.wanted, found.missing_rows) == (300, 600, 300)
    assert endings.lacking_rows(found, "drift") == endings.Ending("waiting", found.why_not)
    assert endings.lacking_rows(found, "manual").reason.endswith("; ask again when they are there")
    accepted = RetrainAccepted("d", "run", "q", "drift", "", NOW_S)
    finished = endings.finished(accepted, endings.Ending("waiting"), 2.0, is_released=True, training_set=found)
    assert (finished.missing_rows, finished.rows_after_change, finished.rows_wanted) == (300, 300, 600)
    assert (finished.changed_at_s, finished.trained_rows, finished.took_s) == (57 * DAY, 0, 2.0)


def test_where_no_number_of_rows_would_do_a_run_is_rejected() -> None:
    same = chosen(None, None)
    alike = LabelledRows(same.rows.matrix, np.zeros(ROWS), same.rows.at_s, same.rows.inputs, {})
    accepted = RetrainAccepted("d", "run", "q", "manual", "", NOW_S)
    found = choose_training_set(DEPLOYMENT, accepted, Target("binary"), alike, NOW_S, SIGNATURE, None)
    assert endings.lacking_rows(found, "manual") == endings.Ending("rejected", "all rows to fit on have the same label")
    assert chosen(None, None, count=60).missing_rows > 0


def test_an_open_gate_is_named_with_the_command_that_releases_the_version() -> None:
    result = GateResult("not_worse_than_champion", "INCONCLUSIVE", 0.1, 0.0, "m", detail="it is not known")
    assert endings.registered(None, "d") == endings.Ending("registered")
    assert "`headrace rollout start d VERSION` releases it" in endings.registered(result, "d").reason
    assert endings.rejected(result).reason == "gate not_worse_than_champion: INCONCLUSIVE, it is not known"


@pytest.mark.parametrize(("size", "is_refused"), [(COMMAND_BYTES, False), (COMMAND_BYTES + 1, True)])
def test_a_description_that_fits_into_no_record_is_refused(size: int, is_refused: Any) -> None:
    assert (why_too_large(size) is not None) is is_refused
