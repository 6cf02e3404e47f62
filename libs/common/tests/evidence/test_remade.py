"""Each part of a decision made again: what is the same is said to be, and a planted difference is found."""

from msgspec.structs import replace

from headrace.events.definition import DeploymentDefinition
from headrace.events.failures import Hung
from headrace.events.inference import (
    DecisionMade,
    Expired,
    FellBack,
    Invalid,
    PredictionRequested,
    Refused,
    Score,
    Served,
)
from headrace.events.registry import Route
from headrace.evidence.remade import (
    Part,
    Remade,
    route_again,
    row_again,
    score_again,
    step_again,
    turned_away_again,
)
from headrace.project import Deployment, Number, Project, previous, prior
from headrace.project.compile import compile_project
from headrace.testing.decisions import decision

ROUTE = Route("d", {1: 0.5, 2: 0.5}, "salt", 3, champion=1, previous=2)


def deployment() -> DeploymentDefinition:
    project = Project("p", [Deployment("d", "u", [Number("x", low=0)], fallback=[previous, prior(0.25)])])
    return compile_project(project).deployment("d")


def of_version(version: int, **changes: object) -> DecisionMade:
    return decision("r", "u-1", answer=Served(Score(version, "m", 0.5)), assigned=version, **changes)


ASSIGNED = 1 if route_again(of_version(1), ROUTE, {}).result == "same" else 2
OTHER = 3 - ASSIGNED


def test_the_version_of_the_route_is_the_same_and_another_one_differs() -> None:
    assert route_again(of_version(ASSIGNED), ROUTE, {}).result == "same"
    assert route_again(of_version(OTHER), ROUTE, {}) == Part(
        "differs", f"then version {OTHER}, now version {ASSIGNED}".replace("now version", "now")
    )


def test_a_preview_header_counts_only_where_the_decision_says_so() -> None:
    made = of_version(9, override="preview")
    assert route_again(made, ROUTE, {"headrace_version": b"9"}).result == "same"
    assert route_again(made, ROUTE, {}).result == "differs"


def test_the_step_follows_from_the_recorded_failures() -> None:
    hung = Hung("predict took over 5 s")
    chosen = f"champion (version {ASSIGNED}): predict took over 5 s"
    prior = FellBack("prior", f"{chosen}; previous (version 2): predict took over 5 s", Score(0, "", 0.25))
    if ASSIGNED == 2:
        prior = FellBack("prior", chosen, Score(0, "", 0.25))
    failures = {str(ASSIGNED): hung, "2": hung}
    made = decision("r", "u-1", assigned=ASSIGNED, answer=prior, failures=failures)
    assert step_again(made, ROUTE, {}, deployment()).result == "same"
    assert step_again(replace(made, failures={}), ROUTE, {}, deployment()).result == "differs"
    other_prior = replace(made, answer=FellBack("prior", prior.reason, Score(0, "", 0.5)))
    assert step_again(other_prior, ROUTE, {}, deployment()).result == "differs"


def test_the_failure_of_a_shadow_below_the_answering_step_changes_nothing() -> None:
    made = of_version(ASSIGNED, failures={str(OTHER): Hung("predict took over 5 s")})
    assert step_again(made, ROUTE, {}, deployment()).result == "same"


def test_a_row_names_the_columns_that_differ() -> None:
    assert row_again(b"aaaabbbb", b"aaaabbbb", ["x", "y"]).result == "same"
    assert row_again(b"aaaabbbb", b"aaaacbbb", ["x", "y"]) == Part("differs", "y")
    assert row_again(b"aaaabbbb", b"aaaa", ["x", "y"]) == Part("differs", "then 2 columns, now 1")


def test_trees_must_give_the_same_bits_and_others_the_same_to_a_millionth() -> None:
    assert score_again([0.25, 0.75], [0.25, 0.75], is_trees=True).result == "same"
    assert score_again([0.25], [0.2500001], is_trees=True).result == "differs"
    assert score_again([0.25], [0.2500001], is_trees=False).result == "near"
    assert score_again([0.25], [0.25001], is_trees=False).result == "differs"
    assert score_again([0.25], [float("nan")], is_trees=False).result == "differs"
    assert score_again([0.25], [0.25, 0.75], is_trees=False).result == "differs"


def test_an_invalid_request_is_checked_again() -> None:
    made = decision("r", "u", answer=Invalid("x must be at least 0, got -1", "x"))
    request = PredictionRequested("d", {"x": -1.0}, "u")
    assert turned_away_again(made, request, deployment()).result == "same"
    valid = replace(request, inputs={"x": 1.0})
    assert turned_away_again(made, valid, deployment()) == Part(
        "differs", "then x must be at least 0, got -1, now valid"
    )
    assert turned_away_again(made, None, deployment()).result == "unknown"


def test_what_was_late_or_refused_is_of_the_time() -> None:
    for answer in (Expired(5), Refused("overload: it had waited")):
        part = turned_away_again(decision("r", "u", answer=answer), PredictionRequested("d"), deployment())
        assert (part.result, part.detail.endswith("that was of the time")) == ("unknown", True)


def test_a_difference_counts_before_what_is_unknown() -> None:
    same, differs, unknown = Part("same"), Part("differs", "y"), Part("unknown", "gone")
    made = Remade("d", "r", "t/0/0", "Served", 1, same, same, differs, unknown)
    assert (made.result, made.why) == ("differs", "row: y; score: gone")
    assert replace(made, row=same).result == "unknown"
    assert replace(made, row=same, score=Part("near")).result == "same"
