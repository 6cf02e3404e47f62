"""The trainer of a back-test: the trainer's own decisions on the rows of a history, in this process.

What a request is answered is decided by `triggers`, which rows fit and which gate by `training_set`, what passes by
`gates`, and both fits are those of `fitting`. Parity with serving is not asked: the rows are those that were served.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from msgspec.structs import replace

from headrace.events.definition import DeploymentDefinition
from headrace.events.registry import Lineage
from headrace.events.training import RetrainAccepted, TrainingFinished
from headrace_backtest.history import Floats, History
from headrace_backtest.versions import Scoring, Version, registered_as
from headrace_trainer.adapters.estimators import build_estimator
from headrace_trainer.adapters.user_code import sentence_of
from headrace_trainer.core import endings
from headrace_trainer.core.closed_windows import closed_until
from headrace_trainer.core.endings import Ending
from headrace_trainer.core.fitting import fit_gated, refit
from headrace_trainer.core.gates import blocking, undecided
from headrace_trainer.core.out_of_time import windows_of
from headrace_trainer.core.reference import reference_of
from headrace_trainer.core.target import Target, Unfit, target_of
from headrace_trainer.core.training_set import ChampionScores, LabelledRows, TrainingSet, choose_training_set

Build = Callable[..., Any]


@dataclass(frozen=True)
class Run:
    """The end of a run. `version`: what it registered, None for nothing."""

    finished: TrainingFinished
    version: Version | None = None


@dataclass(frozen=True)
class Trainer:
    """Trains versions of one deployment on one history. `build`: the user's."""

    history: History
    deployment: DeploymentDefinition
    build: Build

    @property
    def target(self) -> Target:
        """What is predicted."""
        label = self.deployment.label
        assert label is not None  # nothing is replayed of a deployment without one
        return target_of(label, self.history.labels[~np.isnan(self.history.labels)])

    def rows_at(self, clock_s: float, since_s: float) -> tuple[np.ndarray, float]:
        """The places of the labelled rows of closed windows that a run at this instant may use, and where they end."""
        history = self.history
        first, last = history.first_at(since_s), history.first_at(clock_s)
        at_s, labels = history.at_s[first:last], history.known_by(clock_s)[first:last]
        to_s = closed_until(self.deployment, at_s, labels, clock_s)
        return first + np.flatnonzero(~np.isnan(labels) & (at_s < to_s)), to_s

    def run(self, accepted: RetrainAccepted, champion: Version | None, number: int) -> Run:
        """The run of an accepted request; any failure of the user's code is its outcome."""
        try:
            return self._run(accepted, champion, number)
        except Unfit as error:
            reason = str(error)
        except Exception as error:  # users' code and data raised it, as in a run of the trainer
            reason = sentence_of(error)
        return Run(endings.finished(accepted, Ending(endings.FAILED, reason), 0.0, is_released=False))

    def fit_all(self, clock_s: float) -> Scoring | None:
        """A version of everything that was labelled by an instant, without gates; None where it cannot be fitted."""
        training = self.deployment.training
        assert training is not None  # a deployment without it has no calendars
        places, _ = self.rows_at(clock_s, clock_s - training.history_s)
        labels = self.history.labels[places]
        if len(places) < training.min_rows or len(np.unique(labels)) < 2:
            return None
        return self._scoring(self.target.fit(self._estimator(), self.history.matrix[places], labels))

    def _run(self, accepted: RetrainAccepted, champion: Version | None, number: int) -> Run:
        deployment, training = self.deployment, self.deployment.training
        assert training is not None  # `triggers` refuses a deployment without it
        target = self.target
        places, to_s = self.rows_at(accepted.clock_s, accepted.clock_s - training.history_s)
        training_set = choose_training_set(
            deployment,
            accepted,
            target,
            self._labelled(places),
            to_s,
            self.history.signature,
            self._beside(champion, places),
        )
        if training_set.why_not:
            ending = endings.lacking_rows(training_set, accepted.cause)
            return Run(endings.finished(accepted, ending, 0.0, is_released=False, training_set=training_set))
        return self._trained(accepted, training_set, number)

    def _trained(self, accepted: RetrainAccepted, training_set: TrainingSet, number: int) -> Run:
        """Fit, gate and refit."""
        deployment, rows, target = self.deployment, training_set.rows, training_set.target
        given = (self._estimator, rows.matrix, rows.labels, rows.at_s)
        gated = fit_gated(deployment, target, training_set.span, *given, training_set.champion)
        if blocked := blocking(gated.results, accepted.waivers, deployment.gates):
            ending = endings.rejected(blocked[0])
            return Run(endings.finished(accepted, ending, 0.0, is_released=False, training_set=training_set))
        fitted = refit(target, *given, gated)
        open_result = undecided(gated.results, accepted.waivers, deployment.rollout.policy)
        finished = endings.finished(
            accepted,
            endings.registered(open_result, deployment.name),
            0.0,
            is_released=open_result is None,
            fitted=fitted,
            training_set=training_set,
        )
        lineage = Lineage(
            request_from_s=gated.span.from_s,
            request_to_s=gated.span.to_s,
            parent=training_set.parent,
            twin_to_s=gated.span.fit_to_s,
            changed_at_s=gated.changed_at_s,
        )
        registered = replace(
            registered_as(deployment, number, self.history.signature, accepted.clock_s, fitted.digest, lineage),
            gates=tuple(gated.results),
            trained_rows=fitted.rows,
            reference=replace(
                reference_of(deployment, training_set, gated),
                windows=windows_of(deployment, target, gated.span, *given) if deployment.charts is not None else (),
            ),
        )
        return Run(finished, Version(registered, self._scoring(fitted.model), self._scoring(gated.twin)))

    def _labelled(self, places: np.ndarray) -> LabelledRows:
        history = self.history
        return LabelledRows(history.matrix[places], history.labels[places], history.at_s[places], (), {})

    def _beside(self, champion: Version | None, places: np.ndarray) -> ChampionScores | None:
        if champion is None:
            return None
        return ChampionScores(champion.registered, champion.fair_scores(self.history, places), champion.fair_from_s)

    def _estimator(self) -> Any:
        seed = 0 if self.deployment.training is None else self.deployment.training.seed
        return build_estimator(self.build, self.history.signature, seed, self.target)

    def _scoring(self, model: Any) -> Scoring:
        target = self.target

        def scores(matrix: np.ndarray) -> Floats:
            return target.scores(model, matrix)

        return scores
