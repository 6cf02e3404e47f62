"""All that one deployment asks of the trainer: what open findings ask for, its first version, and what follows a change up.

Each reason has a machine of its own (`asking`); here they meet: a finding's request goes before one that follows up, and a version that is there
ends the asking for the first.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from headrace.events.definition import DeploymentDefinition
from headrace.events.monitor import FindingOpened, RetrainAsk
from headrace.events.training import RetrainRequested, TrainingFinished
from headrace.log.envelope import format_instant
from headrace.stats.figures import windows_to_first
from headrace_monitor.core import asking
from headrace_monitor.core.asking import FIRST, FOLLOW_UP, TrainingFact

_ALWAYS = 1_000_000


@dataclass(frozen=True, slots=True)
class GaveUp:
    """A finding asks for no more retrains: they did not help."""

    finding: FindingOpened
    summary: str


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a deployment stands: its clock, windows closed and rows labelled so far, its champion, and its open findings."""

    clock_s: float
    windows: int
    labelled: int
    champion: int | None
    open: Mapping[str, FindingOpened]


@dataclass
class Asks:
    """`by_key`: keys of findings, `first`, `follow_up`."""

    deployment: DeploymentDefinition
    by_key: dict[str, RetrainAsk] = field(default_factory=dict)

    def begin(self, key: str, found: FindingOpened) -> None:
        """A finding has opened: where the project wants it, it asks."""
        retraining = self.deployment.retraining
        if retraining is not None and found.kind in retraining.on and self.deployment.training is not None:
            self.by_key[key] = RetrainAsk(key, found.finding, found.changed_at_s)

    def end(self, key: str) -> None:
        """It asks no more."""
        self.by_key.pop(key, None)

    def on_training(self, fact: TrainingFact, standing: Standing) -> list[RetrainRequested | GaveUp]:
        """What the trainer said of the deployment; and what is asked for now, where the rows that it lacked have come meanwhile."""
        if isinstance(fact, TrainingFinished):
            self._follow_up(fact, standing)
        width_s, said = self.deployment.cohort_s, list[RetrainRequested | GaveUp]()
        for key, ask in list(self.by_key.items()):
            after = asking.on_fact(ask, fact, standing.clock_s, width_s)
            said += self._keep(key, ask, after, standing)
        return said + self._ask(standing)

    def _follow_up(self, finished: TrainingFinished, standing: Standing) -> None:
        """What a new version is followed up by, in place of what an older one was; one that had rows enough, or knows no change, is not."""
        own = self.by_key.get(FOLLOW_UP)
        if finished.outcome != "registered" or (own is not None and own.request_id is not None):
            return
        labelled = next((ask.asked_at for ask in self.by_key.values() if ask.run == finished.run), standing.labelled)
        found = asking.follow_up(finished, labelled)
        if found is None:
            self.end(FOLLOW_UP)
        else:
            self.by_key[FOLLOW_UP] = found

    def on_window(self, served: int | None, standing: Standing) -> list[RetrainRequested | GaveUp]:
        """A window has closed, in which what is still open was not back; and what is asked for now."""
        said: list[RetrainRequested | GaveUp] = []
        for key, ask in list(self.by_key.items()):
            is_judged = served is not None and served == standing.champion != ask.champion
            said += self._keep(key, ask, asking.on_window(ask, is_judged=is_judged), standing)
        return said + self._ask(standing)

    def _keep(self, key: str, before: RetrainAsk, after: RetrainAsk, standing: Standing) -> list[GaveUp]:
        self.by_key[key] = after
        if key == FOLLOW_UP and asking.has_enough(after):
            del self.by_key[key]
        most, found = self._most, standing.open.get(key)
        if found is None or not asking.has_given_up(after, most) or asking.has_given_up(before, most):
            return []
        told = f"{after.unhelpful} retrains in a row did not help: {found.summary}. No more are asked for"
        return [GaveUp(found, told)]

    @property
    def _most(self) -> int:
        """After so many unhelpful retrains a finding asks no more."""
        return self.deployment.retraining.unhelpful if self.deployment.retraining is not None else _ALWAYS

    def _ask(self, standing: Standing) -> list[RetrainRequested]:
        if self.deployment.training is None:
            return []
        if FIRST not in self.by_key and self._may_have_first(standing):
            self.by_key[FIRST] = RetrainAsk(FIRST)
        said: list[RetrainRequested] = []
        is_busy = any(ask.request_id is not None for ask in self.by_key.values())
        for key, ask in sorted(self.by_key.items(), key=lambda found: found[0] == FOLLOW_UP):
            is_due = asking.may_ask(ask, standing.clock_s, standing.labelled, self._most)
            if is_due and not (key == FOLLOW_UP and is_busy):
                request = self._request(ask, standing)
                self.by_key[key], is_busy = asking.asked(ask, request, standing.champion, standing.labelled), True
                said.append(request)
        return said

    def _may_have_first(self, standing: Standing) -> bool:
        training = self.deployment.training
        if training is None or standing.champion is not None:
            return False
        needed = windows_to_first(training.first_after_s, self.deployment.cohort_s)
        rows = training.first_after_rows
        return standing.windows >= needed or (rows is not None and standing.labelled >= rows)

    def _request(self, ask: RetrainAsk, standing: Standing) -> RetrainRequested:
        if ask.key == FIRST:
            cause = FIRST
            reason = f"no version yet, and {standing.windows} cohorts with {standing.labelled} labels have closed"
        elif ask.key == FOLLOW_UP:
            cause, since = FOLLOW_UP, format_instant(ask.changed_at_s or 0.0)
            rows = ask.rows + standing.labelled - ask.rows_at
            reason = f"{rows:,} labelled rows lie beyond the change of {since}, the last run had {ask.rows:,}"
        else:
            cause, reason = "drift", standing.open[ask.key].summary
        name, clock_s = self.deployment.name, standing.clock_s
        return RetrainRequested(name, cause, reason, "monitor", ask.finding, clock_s, changed_at_s=ask.changed_at_s)
