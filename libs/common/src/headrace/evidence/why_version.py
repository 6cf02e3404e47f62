"""Why a version had its traffic: from the fact that gave it, back to the first cause.

The route that a decision followed may be newer than that fact: the end of another version's rollout writes the same
shares again. So the facts are read back from there, as long as the version had the same standing:

| link                | found by                                                             |
|---------------------|----------------------------------------------------------------------|
| the last change     | the route that was followed, if it is not the change that gave it    |
| who is passed over  | the findings that this route names, of any version: another answers  |
| the promotion       | the alias that moved with that change                                |
| the change          | the oldest `RouteChanged` since which its standing is the same       |
| its causes          | their chain of `ce_causationid`: a verdict, or a person's command    |
| the rollout         | the newest `RolloutStarted` of the version before the change         |
| the registration    | `VersionRegistered`; its command by the chain of the facts above     |
| the run             | the `TrainingFinished` whose run derived the command's id            |
| request and finding | the chain of the command                                             |
"""

from collections.abc import Sequence
from itertools import takewhile

from headrace.events.monitor import FindingOpened
from headrace.events.registry import AliasMoved, RolloutStarted, Route, RouteChanged, VersionRegistered
from headrace.events.training import RetrainRequested, TrainingFinished
from headrace.evidence.causes import Cause, cause_of
from headrace.evidence.reading import Evidence
from headrace.log.codec import Message
from headrace.log.envelope import derived_id

# A run ends about when its version is registered: so many facts of the trainer before and after that are read.
_NEAR = 64
_FINDINGS = 1_000


async def why_version(evidence: Evidence, deployment: str, version: int | None, route: Message | None) -> list[Cause]:
    """The causes of a version's standing in a route, newest first. `route`: a `Route` or the `RouteChanged` that
    describes it, None for none; `version`: None for the champion of that route.
    """
    if route is None:
        return []
    followed = route_of(route)
    version = champion_of(followed) if version is None else version
    facts = await evidence.facts(deployment)
    gave = None if version is None else change_that_gave(facts, followed, version)
    if gave is None or version is None:
        return _causes(await evidence.chain(route))
    links = [] if route_of(gave).revision == followed.revision else [route]
    for over in followed.passed_over:
        links += await _finding(evidence, deployment, over.finding)
    links += [*_promotion(facts, gave, version), *await evidence.chain(gave)]
    started = _newest(facts, RolloutStarted, version, gave)
    registered = _newest(facts, VersionRegistered, version, gave)
    links += [] if started is None else [started]
    if registered is not None:
        command, *causes = [*(await evidence.chain(registered))[1:], None]
        links += [registered, *([] if command is None else [command]), *await _runs(evidence, registered)]
        links += await _to_the_finding(evidence, [cause for cause in causes if cause is not None])
    elif started is not None:
        links += (await evidence.chain(started))[1:]
    return _causes(links)


def route_of(message: Message) -> Route:
    """The route in a `Route` or a `RouteChanged`."""
    return message.event.route if isinstance(message.event, RouteChanged) else message.event


def champion_of(route: Route) -> int | None:
    """The champion, or the version with the largest share; None where there is no version."""
    if route.champion is not None or not route.shares:
        return route.champion
    return max(route.shares, key=route.shares.__getitem__)


def standing(route: Route, version: int) -> tuple[str, float] | None:
    """What a route makes of a version: its champion (with whatever share), a share, a step below, a tenant's version.

    >>> standing(Route("d", {1: 0.75, 2: 0.25}, "s", 4, champion=1), 1), standing(Route("d", {1: 1.0}, "s", 4), 3)
    (('champion', 1.0), None)
    """
    if version == route.champion:
        return "champion", 1.0
    if version in route.shares:
        return "share", route.shares[version]
    for name, found in (("previous", route.previous), ("baseline", route.baseline)):
        if found == version:
            return name, 0.0
    return ("tenant", 0.0) if version in route.overrides.values() else None


def change_that_gave(facts: Sequence[Message], followed: Route, version: int) -> Message | None:
    """The oldest change of the route since which the version had the standing that it has in `followed`; None where the
    facts do not hold it. `facts`: of one deployment, oldest first.
    """
    wanted = standing(followed, version)
    changes = [m for m in facts if isinstance(m.event, RouteChanged) and m.event.route.revision <= followed.revision]
    same = list(takewhile(lambda m: standing(m.event.route, version) == wanted, reversed(changes)))
    return same[-1] if same and wanted is not None else None


def _promotion(facts: Sequence[Message], gave: Message, version: int) -> list[Message]:
    cause = gave.envelope.causation_id
    return [
        m
        for m in facts
        if isinstance(m.event, AliasMoved)
        and (m.event.alias, m.event.version, m.envelope.causation_id) == ("champion", version, cause)
    ][-1:]


def _newest(facts: Sequence[Message], kind: type, version: int, before: Message) -> Message | None:
    found = [
        m
        for m in facts
        if isinstance(m.event, kind) and m.event.version == version and m.record.offset <= before.record.offset
    ]
    return found[-1] if found else None


async def _runs(evidence: Evidence, registered: Message) -> list[Message]:
    """The end of the run that made a version; none where a person registered it."""
    event = registered.event
    places = await evidence.index.find("key", event.deployment, "training.facts")
    parts = await evidence.log.partitions(evidence.topics.name("training.facts"))
    ends = {
        tp.partition: at for tp, at in (await evidence.log.offsets_at(parts, registered.record.timestamp_ms)).items()
    }
    before = [place for place in places if place.offset < ends.get(place.partition, 0)][-_NEAR:]
    after = [place for place in places if place.offset >= ends.get(place.partition, 0)][:_NEAR]
    return [
        m
        for m in await evidence.messages([*before, *after])
        if isinstance(m.event, TrainingFinished) and derived_id("register", m.event.run) == event.command_id
    ][-1:]


async def _to_the_finding(evidence: Evidence, causes: list[Message]) -> list[Message]:
    """A request with its finding as the first cause. A request that is made again is caused by a window, and names it."""
    for number, message in enumerate(causes):
        event = message.event
        if isinstance(event, RetrainRequested) and event.finding is not None:
            first = await _finding(evidence, event.deployment, event.finding)
            return [*causes[: number + 1], *first] if first else causes
    return causes


async def _finding(evidence: Evidence, deployment: str, finding: str) -> list[Message]:
    """The record that opened a finding, and its causes; none where the log has it no more."""
    places = await evidence.index.find("key", deployment, "monitor.findings", most=_FINDINGS)
    found = [m for m in await evidence.messages(places) if isinstance(m.event, FindingOpened)]
    opened = [m for m in found if m.event.finding == finding][:1]
    return await evidence.chain(opened[0]) if opened else []


def _causes(links: Sequence[Message]) -> list[Cause]:
    """Each record once, in words. One that several follow from stands behind the last of them."""
    kept = {message.envelope.id: message for message in reversed(links)}
    return [cause_of(message) for message in reversed(kept.values())]
