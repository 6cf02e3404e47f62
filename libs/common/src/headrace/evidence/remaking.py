"""Makes decisions again, many at once: requests and routes are read by their places, each source is read once, each
version is loaded once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from headrace.events.inference import DecisionMade, FellBack, PredictionRequested, Score, Served
from headrace.events.registry import Route, Signature
from headrace.evidence.definitions import Definitions, Then
from headrace.evidence.explain import version_of
from headrace.evidence.places import Place
from headrace.evidence.reading import Evidence
from headrace.evidence.remade import (
    NONE,
    Part,
    Remade,
    route_again,
    scores_of,
    step_again,
    turned_away_again,
    was_turned_away,
)
from headrace.evidence.rows_again import Asked, rows_again
from headrace.evidence.scores_again import scorer_of
from headrace.features.rows import misfit
from headrace.log.codec import Message

# So many decisions are made again at once: their sources are read together.
AT_ONCE = 5_000
_OTHER_ROW = Part("differs", "its row is not in the order of this version's columns")
_GONE = "its request is not on the log any more"
Say = Callable[[str], None]


@dataclass
class _Case:
    """One decision on its way."""

    message: Message
    request: PredictionRequested | None
    headers: dict[str, bytes]
    then: Then | None
    route: Route | None = None
    parts: dict[str, Part] | None = None

    @property
    def decision(self) -> DecisionMade:
        return self.message.event


async def remade(evidence: Evidence, decisions: Sequence[Message], say: Say = lambda line: None) -> list[Remade]:
    """Make decisions again. `say`: progress in words."""
    found: list[Remade] = []
    for begin in range(0, len(decisions), AT_ONCE):
        found += await _Remaking(evidence, say).of(decisions[begin : begin + AT_ONCE])
    return found


class _Remaking:
    """What is read for one batch of decisions."""

    def __init__(self, evidence: Evidence, say: Say) -> None:
        self._evidence, self._say = evidence, say
        self._signatures: dict[tuple[str, int], Signature | None] = {}

    async def of(self, decisions: Sequence[Message]) -> list[Remade]:
        cases = await self._cases(decisions)
        for case in cases:
            case.parts = _turned_away(case) if was_turned_away(case.decision) else _routed(case)
        routed = [case for case in cases if not was_turned_away(case.decision)]
        await self._rows(routed)
        await self._scores(routed)
        return [_result(case) for case in cases]

    async def _cases(self, decisions: Sequence[Message]) -> list[_Case]:
        evidence = self._evidence
        self._say(f"reading {len(decisions):,} requests and their routes")
        places = [Place("inference.requests", m.record.partition, m.event.request_offset) for m in decisions]
        requests = {
            Place("inference.requests", m.record.partition, m.record.offset): m for m in await evidence.messages(places)
        }
        definitions = await Definitions.read(evidence.log, evidence.codec, evidence.topics)
        cases = []
        for message, place in zip(decisions, places, strict=True):
            request = requests.get(place)
            headers = {} if request is None else {name: value or b"" for name, value in request.record.headers}
            signature = await self._signature_of(message.event)
            fits = partial(_fits, message.event, signature)
            then = definitions.at(message.event.deployment, message.record.timestamp_ms, fits)
            cases.append(_Case(message, None if request is None else request.event, headers, then))
        await self._routes(cases)
        return cases

    async def _routes(self, cases: Sequence[_Case]) -> None:
        """The route that each decision followed: its record, or the fact of that time where compaction removed it."""
        offsets = {case.decision.route_offset for case in cases} - {-1}
        exact = await self._evidence.messages([Place("registry.routes", 0, offset) for offset in sorted(offsets)])
        by_offset = {m.record.offset: m.event for m in exact if isinstance(m.event, Route)}
        changed: dict[str, list[Message]] = {}
        for case in cases:
            decision = case.decision
            if decision.route_offset < 0:
                continue
            case.route = by_offset.get(decision.route_offset)
            if case.route is None:
                if decision.deployment not in changed:
                    changed[decision.deployment] = await self._evidence.all_routes(decision.deployment)
                case.route = _route_then(case, changed[decision.deployment])

    async def _rows(self, cases: Sequence[_Case]) -> None:
        asked: list[Asked] = []
        owners: list[_Case] = []
        for case in cases:
            signature = await self._signature(case)
            if case.request is None or case.then is None:
                _set(case, "row", Part("unknown", _GONE if case.request is None else "its deployment is not declared"))
            elif signature is None:
                _set(case, "row", Part("unknown", "the columns of its row are not known any more"))
            else:
                asked.append(Asked(case.decision, case.request, case.then, signature))
                owners.append(case)

        def progress(done: int, total: int) -> None:
            self._say(f"folding the sources' events: {done:,} of {total:,}")

        for case, part in zip(owners, await rows_again(self._evidence, asked, progress), strict=True):
            _set(case, "row", part)

    async def _signature(self, case: _Case) -> Signature | None:
        """The signature of a row: of the version that answered, or the deployment's own."""
        decision, then = case.decision, case.then
        found = await self._signature_of(decision)
        if found is None and version_of(decision.answer) is None and then is not None:
            found = then.bare
        return found if found is not None and found.digest == decision.signature else None

    async def _signature_of(self, decision: DecisionMade) -> Signature | None:
        """The signature of the version that answered; None where none did, or it is not registered any more."""
        version = version_of(decision.answer)
        if version is None:
            return None
        key = (decision.deployment, version)
        if key not in self._signatures:
            current = await self._evidence.version(*key)
            self._signatures[key] = None if current is None else current.registered.signature
        return self._signatures[key]

    async def _scores(self, cases: Sequence[_Case]) -> None:
        by_version: dict[tuple[str, int], list[_Case]] = {}
        for case in cases:
            version = version_of(case.decision.answer)
            if version is not None:
                by_version.setdefault((case.decision.deployment, version), []).append(case)
        for (deployment, version), mine in by_version.items():
            self._say(f"scoring {len(mine):,} rows by {deployment} version {version}")
            scorer = await scorer_of(self._evidence, deployment, version)
            if isinstance(scorer, str):
                parts = [Part("unknown", scorer)] * len(mine)
            else:
                digest = scorer.registered.signature.digest
                fits = [case for case in mine if case.decision.signature == digest]
                then = [scores_of(_score(case.decision)) for case in fits]
                again = iter(scorer.again([case.decision.row for case in fits], then))
                parts = [next(again) if case.decision.signature == digest else _OTHER_ROW for case in mine]
            for case, part in zip(mine, parts, strict=True):
                _set(case, "score", part)


def _fits(decision: DecisionMade, signature: Signature | None, then: Then) -> bool:
    """Whether a decision's row may have been made under a definition. `signature`: of the version that answered."""
    if was_turned_away(decision):
        return True
    bare = then.bare
    return bare.digest == decision.signature if signature is None else misfit(signature, bare) is None


def _route_then(case: _Case, changed: Sequence[Message]) -> Route | None:
    """The newest route that was written before the decision and assigns its unit as it was. NB: a route that is just
    being written may not have been followed yet.
    """
    before = [m.event.route for m in changed if m.record.timestamp_ms <= case.message.record.timestamp_ms][-3:]
    fits = [route for route in before if route_again(case.decision, route, case.headers).result == "same"]
    return fits[-1] if fits else before[-1] if before else None


def _turned_away(case: _Case) -> dict[str, Part]:
    deployment = None if case.then is None else case.then.deployment
    part = turned_away_again(case.decision, case.request, deployment)
    if part.result == "differs" and case.then is not None and not case.then.is_certain:
        part = Part("unknown", "the definition of that time is gone")
    return {"route": NONE, "step": part, "row": NONE, "score": NONE}


def _routed(case: _Case) -> dict[str, Part]:
    parts = {"row": NONE, "score": NONE}
    if case.route is None and case.decision.route_offset >= 0:
        why = Part("unknown", "the route that it followed is not on the log any more")
        return parts | {"route": why, "step": why}
    if case.request is None:
        return parts | {"route": Part("unknown", _GONE), "step": Part("unknown", _GONE)}
    parts["route"] = route_again(case.decision, case.route, case.headers)
    if case.then is None:
        return parts | {"step": Part("unknown", "its deployment is not declared")}
    step = step_again(case.decision, case.route, case.headers, case.then.deployment)
    if step.result == "differs" and not case.then.is_certain:
        step = Part("unknown", "the definition of that time is gone, and by the present one it differs")
    return parts | {"step": step}


def _set(case: _Case, name: str, part: Part) -> None:
    case.parts = (case.parts or {}) | {name: part}


def _score(decision: DecisionMade) -> Score:
    assert isinstance(decision.answer, Served | FellBack)
    return decision.answer.score


def _result(case: _Case) -> Remade:
    decision, parts = case.decision, case.parts or {}
    kind = type(decision.answer).__name__
    return Remade(
        decision.deployment,
        decision.request_id,
        case.message.record.place,
        kind,
        version_of(decision.answer),
        *(parts.get(name, NONE) for name in ("route", "step", "row", "score")),
    )
