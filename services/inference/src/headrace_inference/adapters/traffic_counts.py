"""Counts what was answered, once it is committed, and how long its stages took: per batch where all requests of it share a duration."""

from bisect import bisect_left
from collections.abc import Sequence

from headrace.clock import Clock
from headrace.hosting.traffic import Tally
from headrace.latency import BOUNDS_S
from headrace_inference.adapters.serving_views import ServingViews
from headrace_inference.core.batch import Decision, Gathered, ModelCall
from headrace_inference.core.counting import outcome_of, place_of, scale_of, unknown_rows

_BOUNDS_MS = [bound_s * 1000 for bound_s in BOUNDS_S]


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
            self._count(name, own, now_ms, began_ms)
        for name, (rows, unknown) in lap.rows.items():
            tally = self._tally(name)
            tally.rows += rows
            tally.unknown += unknown

    def _tally(self, deployment: str) -> Tally:
        return self._traffic.of(deployment, exists=self._views.definitions.deployment(deployment) is not None)

    def _count(self, name: str, own: Sequence[Decision], now_ms: float, began_ms: float) -> None:
        """Count the decisions of one deployment. NB: each costs the time of the loop that answers, hence the plain additions."""
        tally, queue = self._tally(name), self._traffic.stages["queue"]
        whole, waited = tally.latency.counts, queue.counts
        answered: dict[tuple[str, int], int] = {}
        appended_ms = missing = stale = 0
        for one in own:
            made, appended = one.made, one.request.record.timestamp_ms
            outcome = outcome_of(made.answer)
            answered[outcome] = answered.get(outcome, 0) + 1
            whole[bisect_left(_BOUNDS_MS, now_ms - appended)] += 1
            waited[bisect_left(_BOUNDS_MS, began_ms - appended)] += 1
            appended_ms += appended
            missing += made.missing != ()
            stale += made.stale != ()
        tally.latency.total += max(0.0, len(own) * now_ms - appended_ms) / 1000
        queue.total += max(0.0, len(own) * began_ms - appended_ms) / 1000
        tally.missing += missing
        tally.stale += stale
        route, _ = self._views.registry.route(name)
        named = route.named if route is not None else ()
        for (outcome, version), times in answered.items():
            tally.count(outcome, version, times, named.__contains__)
        self._note_scores(name, tally, own)

    def _note_scores(self, name: str, tally: Tally, own: Sequence[Decision]) -> None:
        found = self._views.definitions.deployment(name)
        scale = scale_of(found[1]) if found is not None else None
        if scale is None:
            return
        for one in own:
            score = getattr(one.made.answer, "score", None)
            if score is not None and score.version:
                place = place_of(score, scale)
                if place is not None:
                    tally.scores.add(place)
