"""Counts what was answered, once it is committed, and how long its stages took: per batch where all requests of it share a duration."""

from collections.abc import Sequence

from headrace.clock import Clock
from headrace.events.inference import FellBack, Score, Served
from headrace.hosting.traffic import Tally
from headrace_inference.adapters.serving_views import ServingViews
from headrace_inference.core.batch import Decision, Gathered, ModelCall
from headrace_inference.core.counting import PROBABILITIES, outcome_of, place_of, scale_of, unknown_rows


class Lap:
    """How one batch went through its stages. `began_s`: when, wall clock; `took_s`: by stage; `cases`: requests that models were asked for."""

    __slots__ = ("_at_s", "_clock", "began_s", "cases", "rows", "took_s")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.began_s, self._at_s = clock.now_s(), clock.monotonic_s()
        self.took_s: dict[str, float] = {}
        self.rows: dict[str, tuple[int, int]] = {}
        self.cases = 0

    def pass_stage(self, stage: str) -> None:
        """A stage has ended now."""
        now_s = self._clock.monotonic_s()
        self.took_s[stage], self._at_s = now_s - self._at_s, now_s

    def note_rows(self, gathered: Gathered, calls: Sequence[ModelCall]) -> None:
        """Versions were given rows: per deployment, how many, and how many of them with a category that the version does not know."""
        for call in calls:
            rows, unknown = self.rows.get(call.name[0], (0, 0))
            unknown += unknown_rows(call.rows, gathered.versions[call.name].signature.columns)
            self.rows[call.name[0]] = (rows + len(call.rows), unknown)

    def decided(self, cases: int) -> "Lap":
        """The batch is decided now, `cases` of it with a model or in place of one."""
        self.pass_stage("decided")
        self.cases = cases
        return self

    def since_s(self) -> float:
        """The seconds since the last stage ended."""
        return self._clock.monotonic_s() - self._at_s


class TrafficCounts:
    """Fills in the traffic of the health record."""

    def __init__(self, views: ServingViews) -> None:
        self._views, self._traffic = views, views.health.traffic

    def on_committed(self, decisions: Sequence[Decision], lap: Lap) -> None:
        """Count decisions that were committed this moment."""
        stages = self._traffic.stages
        if lap.cases:
            stages["features"].add(lap.took_s["features"], lap.cases)
            stages["model"].add(lap.took_s["model"], lap.cases)
        if decisions:
            stages["commit"].add(lap.since_s(), len(decisions))
        by_deployment: dict[str, list[Decision]] = {}
        for one in decisions:
            by_deployment.setdefault(one.made.deployment, []).append(one)
        now_ms, began_ms = self._views.clock.now_s() * 1000, lap.began_s * 1000
        for name, own in by_deployment.items():
            found = self._views.definitions.deployment(name)
            tally = self._traffic.of(name, exists=found is not None)
            rows, unknown = lap.rows.get(name, (0, 0))
            tally.rows += rows
            tally.unknown += unknown
            scores = self._count(name, tally, own, now_ms, began_ms)
            if scores:
                _note_scores(tally, scores, scale_of(None if found is None else found[1]))

    def _count(self, name: str, tally: Tally, own: Sequence[Decision], now_ms: float, began_ms: float) -> list[Score]:
        """Count the decisions of one deployment; returns the scores of models that answered.

        NB: each costs the time of the loop that answers: what can be is counted at once.
        """
        queue = self._traffic.stages["queue"]
        # Records of one burst have the same append time.
        appended: dict[int, int] = {}
        for at_ms in [one.request.record.timestamp_ms for one in own]:
            appended[at_ms] = appended.get(at_ms, 0) + 1
        for appended_ms, times in appended.items():
            tally.latency.add((now_ms - appended_ms) / 1000, times)
            queue.add((began_ms - appended_ms) / 1000, times)
        answers = [one.made.answer for one in own]
        tally.missing += sum([1 for one in own if one.made.missing])
        tally.stale += sum([1 for one in own if one.made.stale])
        served = [answer.score for answer in answers if type(answer) is Served]
        others = [answer for answer in answers if type(answer) is not Served]
        versions = [score.version for score in served]
        outcomes = {("served", version): versions.count(version) for version in set(versions)}
        for outcome in map(outcome_of, others):
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
        route, _ = self._views.registry.route(name)
        named = route.named if route is not None else ()
        for (outcome, version), times in outcomes.items():
            tally.count(outcome, version, times, named.__contains__)
        return served + [one.score for one in others if isinstance(one, FellBack) and one.score.version]


def _note_scores(tally: Tally, scores: Sequence[Score], scale: tuple[float, float] | None) -> None:
    """Count where scores lie; those of numbers without a range lie nowhere."""
    if scale is None:
        return
    places = [score.value for score in scores]
    if scale != PROBABILITIES or None in places:
        places = [place_of(score, scale) for score in scores]
    tally.scores.add_all([place for place in places if place is not None])
