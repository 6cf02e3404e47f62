"""A rollout whose versions fail: decisions, late scores and the verdict about them."""

from hypothesis import strategies as st

from headrace.events.definition import DeploymentDefinition
from headrace.events.failures import (
    Busy,
    Failure,
    InvalidScore,
    NoTime,
    NotLoaded,
    Raised,
    RowUnfit,
    Shed,
)
from headrace.events.inference import DecisionMade, FellBack, Refused, Score, Served, ShadowScored
from headrace.events.registry import RolloutAdvanced, RolloutStarted, Route
from headrace.events.verdicts import Evidence, VerdictGiven
from headrace.project import Binary, Canary, Deployment, Guardrail, Number, Project
from headrace.project.compile import compile_project
from headrace_monitor.core.rollout_analysis import RolloutAnalysis, begin
from headrace_monitor.core.rollout_requests import Seen

HOUR = 3600.0
OLD, NEW = 1, 2
NOT_OWN: list[Failure] = [
    NotLoaded("predict returned nothing: not loaded yet"),
    Busy("it waits for a core"),
    NoTime("no time was left"),
    Shed("overload"),
    RowUnfit("3 features are missing", "x"),
]
IN_A_ROW = Guardrail("errors", 1.0, consecutive=20)


def deployment(*rails: Guardrail) -> DeploymentDefinition:
    canary = Canary(shares=[0.5, 1], margin=0.02, label_delay="2h", guardrails=rails or (IN_A_ROW,), min_decisions=20)
    found = Deployment("d", "u", [Number("x")], label=Binary("y", horizon="4h"), rollout=canary)
    return compile_project(Project("p", raw=[], sources=[], views=[], deployments=[found])).deployments[0]


def analysis_of(found: DeploymentDefinition | None = None, share: float = 0.5) -> RolloutAnalysis:
    found = found or deployment()
    analysis = begin(found, RolloutStarted("d", "r1", NEW, "canary", "", found.rollout, OLD, clock_s=0.0))
    analysis.on_route(Route("d", {OLD: 1 - share, NEW: share}, "s", 1), 0)
    analysis.on_advanced(RolloutAdvanced("d", "r1", NEW, "canary", share, 0, clock_s=0.0))
    return analysis


def decision(
    number: int,
    assigned: int,
    new: Failure | float | None = 0.3,
    old: Failure | float | None = 0.3,
    *,
    unit: str | None = None,
    row: bytes | None = None,
    at_s: float | None = None,
    override: str = "",
) -> DecisionMade:
    """A decision with the result of each version: its score, the failure instead of one, or None while it is due."""
    scores_or_failures = {NEW: new, OLD: old}
    scores = {v: Score(v, "", found) for v, found in scores_or_failures.items() if isinstance(found, float)}
    other = OLD if assigned == NEW else NEW
    answer = (
        Served(scores[assigned])
        if assigned in scores
        else FellBack("previous", "it failed", scores[other])
        if other in scores
        else Refused("nothing can answer")
    )
    answered = None if isinstance(answer, Refused) else answer.score.version
    return DecisionMade(
        f"r{number}",
        "d",
        unit if unit is not None else f"u{number}",
        at_s if at_s is not None else number * 60.0,
        answer,
        number,
        row=row if row is not None else number.to_bytes(4, "little"),
        shadows=tuple(score for version, score in scores.items() if version != answered),
        route_offset=0,
        assigned=assigned,
        failures={str(v): found for v, found in scores_or_failures.items() if not isinstance(found, float | None)},
        took_ms=dict.fromkeys(map(str, scores), 1.0 + number * 1e-06),
        shadows_due=tuple(v for v, found in scores_or_failures.items() if found is None),
        override=override,
    )


def late(number: int, version: int, result: Failure | float, at_s: float | None = None) -> ShadowScored:
    score = Score(version, "", result) if isinstance(result, float) else None
    failure = None if isinstance(result, float) else result
    return ShadowScored(f"r{number}", "d", f"u{number}", version, at_s or number * 60.0, score, failure, 1.0)


def feed(
    analysis: RolloutAnalysis, *events: DecisionMade | ShadowScored, place: str = "decisions/0", start: int = 0
) -> None:
    analysis.take([Seen(place, start + n, event) for n, event in enumerate(events)])


def verdict_of(analysis: RolloutAnalysis, clock_s: float = 0.0) -> VerdictGiven:
    (found,) = analysis.look(clock_s, is_silent=True).facts
    return found


def evidence(analysis: RolloutAnalysis, metric: str, clock_s: float = 0.0) -> Evidence | None:
    return next((found for found in verdict_of(analysis, clock_s).evidence if found.metric == metric), None)


results = st.one_of(
    st.floats(0.05, 0.95),
    st.sampled_from([None, None, None, Raised("no"), InvalidScore("NaN"), Shed("overload"), NotLoaded("not yet")]),
)
