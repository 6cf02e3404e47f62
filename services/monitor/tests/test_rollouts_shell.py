"""The monitor's shard with a running rollout: facts, routes, decisions and outcomes in; verdicts and their memory out."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from msgspec.structs import replace

from headrace.clock import ManualClock
from headrace.events.failures import Raised
from headrace.events.inference import DecisionMade, FellBack, OutcomeObserved, Score, Served, ShadowScored
from headrace.events.monitor import RolloutJudged
from headrace.events.registry import RolloutAborted, RolloutAdvanced, RolloutStarted, Route
from headrace.events.verdicts import FAIL, PASS, UNMEASURED, VerdictGiven
from headrace.log.codec import Codec, Message
from headrace.log.envelope import Envelope
from headrace.log.port import Out, Record, TopicPartition
from headrace.log.topics import Topics
from headrace.project import Binary, Canary, Deployment, Number, Project
from headrace.project.compile import compile_project
from headrace_monitor.adapters.outside import Outside
from headrace_monitor.core.liveness import Liveness
from headrace_monitor.shell import MonitorShard

CANARY = Canary(shares=[0.5, 1], margin=0.05, min_decisions=20)
DEPLOYMENT = Deployment("d", "u", [Number("x")], label=Binary("y", horizon="2h"), rollout=CANARY)
PROJECT = compile_project(Project("p", raw=[], sources=[], views=[], deployments=[DEPLOYMENT]))
TOPICS = Topics.load()
CODEC = Codec(TOPICS)
DECISIONS, OUTCOMES = TOPICS.name("inference.decisions"), TOPICS.name("inference.outcomes")
FACTS, ROUTES = TOPICS.name("registry.facts"), TOPICS.name("registry.routes")


class Log:
    """What lies on the inputs, in the order in which it is read."""

    def __init__(self, *, fails: bool = False) -> None:
        self.messages: list[Message] = []
        self.rng = np.random.default_rng(1)
        plan = PROJECT.deployments[0].rollout
        self.put(FACTS, RolloutStarted("d", "r1", 2, "canary", "", plan, 1, clock_s=0.0), 0.0)
        self.put(ROUTES, Route("d", {1: 0.5, 2: 0.5}, "s", 1, rollout="r1"), 0.0)
        self.put(FACTS, RolloutAdvanced("d", "r1", 2, "canary", 0.5, 0, clock_s=0.0), 0.0)
        for n in range(1500):
            self.request(n, fails=fails)

    def put(self, topic: str, event: object, time_s: float) -> None:
        offset = sum(1 for message in self.messages if message.record.topic == topic)
        self.messages.append(
            Message(Record(topic, 0, offset, b"d", None), Envelope(f"{topic}{offset}", "", "t", time_s), event)
        )

    def request(self, n: int, *, fails: bool) -> None:
        at_s, risk = n * 60.0, 0.8 if self.rng.random() < 0.5 else 0.2
        assigned = 2 if self.rng.random() < 0.5 else 1
        failures = {2: Raised("ValueError: no")} if fails else {}
        scores = {v: Score(v, "", risk) for v in (1, 2) if v not in failures}
        answer = Served(scores[assigned]) if assigned in scores else FellBack("previous", "it failed", scores[1])
        shadows = tuple(score for v, score in scores.items() if v != answer.score.version)
        self.put(
            DECISIONS,
            DecisionMade(f"r{n}", "d", f"u{n}", at_s, answer, n, shadows=shadows, route_offset=0, assigned=assigned,
                         failures={str(v): found for v, found in failures.items()}, took_ms=dict.fromkeys(map(str, scores), 1.0 + n)),
            at_s,
        )  # fmt: skip
        self.put(OUTCOMES, OutcomeObserved("d", f"u{n}", float(self.rng.random() < risk)), at_s + 600)

    def places(self) -> Mapping[TopicPartition, int]:
        return {TopicPartition(message.record.topic, 0): 0 for message in self.messages}


async def shard_of(
    log: Log, memory: Sequence[Message], committed: Mapping[TopicPartition, int]
) -> tuple[MonitorShard, Mapping]:
    async def behind() -> Mapping[TopicPartition, int]:
        return log.places()

    shard = MonitorShard(TOPICS, [PROJECT], ManualClock(), Liveness(), Outside(behind))
    for message in memory:
        await shard.on_history(message)
    return shard, await shard.on_start(committed)


async def feed(shard: MonitorShard, messages: Sequence[Message], size: int) -> list[Message]:
    outs: list[Out] = []
    for begin in range(0, len(messages), size):
        outs += (await shard.on_batch(messages[begin : begin + size])).outs
    outs += (await shard.on_tick()).outs
    return [CODEC.decode(Record(o.topic, 0, 0, o.key, o.value, o.headers)) for o in outs]


def verdicts(messages: Sequence[Message]) -> list[VerdictGiven]:
    return [message.event for message in messages if isinstance(message.event, VerdictGiven)]


async def test_a_good_version_gets_verdicts_that_let_it_go_on() -> None:
    log = Log()
    shard, _ = await shard_of(log, [], {})
    found = verdicts(await feed(shard, log.messages, 100))
    assert (found[-1].guardrails, found[-1].labels) == (PASS, PASS)
    assert found[-1].clock_s > log.messages[-2].event.at_s - 3600
    assert found[-1].step_decisions == pytest.approx(720, abs=80)


async def test_a_version_that_raises_fails_at_once_and_no_verdict_follows_after_its_rollout_has_ended() -> None:
    log = Log(fails=True)
    shard, _ = await shard_of(log, [], {})
    found = verdicts(await feed(shard, log.messages[:103], 50))
    assert found[-1].guardrails == FAIL
    assert found[-1].decisions <= 50
    log.put(FACTS, RolloutAborted("d", "r1", 2, "errors", harmful=True), 0.0)
    ended = await feed(shard, log.messages[-1:], 1)
    assert [m.event.ended for m in ended if isinstance(m.event, RolloutJudged)] == [True]
    assert verdicts(await feed(shard, log.messages[103:400], 50)) == []


async def test_after_a_restart_verdicts_go_on_with_the_same_ids_and_the_same_results() -> None:
    log = Log()
    straight, _ = await shard_of(log, [], {})
    whole = await feed(straight, log.messages, 100)

    first, _ = await shard_of(log, [], {})
    before = await feed(first, log.messages[:1400], 100)
    committed = {
        place: sum(1 for message in log.messages[:1400] if message.record.topic == place.topic)
        for place in log.places()
    }
    second, starts = await shard_of(log, before, committed)
    rest = [m for m in log.messages if m.record.offset >= starts[TopicPartition(m.record.topic, 0)]]
    assert 0 < len(rest) < len(log.messages)
    after = await feed(second, rest, 100)

    given = {m.envelope.id: m.event.labels for m in [*before, *after] if isinstance(m.event, VerdictGiven)}
    wanted = {m.envelope.id: m.event.labels for m in whole if isinstance(m.event, VerdictGiven)}
    assert {given[ident] for ident in given.keys() & wanted.keys()} == set(wanted.values())
    assert len(given.keys() & wanted.keys()) >= len(wanted) - 2
    again, once = (shard.core.rollouts._analyses["d"].memory({}) for shard in (second, straight))
    assert (again.decisions, again.totals, again.folded) == (once.decisions, once.totals, once.folded)
    assert again.tests["errors"]["wealth"] == pytest.approx(once.tests["errors"]["wealth"])


async def test_without_any_request_the_verdict_is_that_it_waits_for_traffic_as_long_as_it_takes() -> None:
    log = Log()
    log.messages = log.messages[:3]
    shard, _ = await shard_of(log, [], {})
    assert [v.waiting_for for v in verdicts(await feed(shard, log.messages, 10))] == ["traffic"]
    clock = shard._clock
    assert isinstance(clock, ManualClock)
    for _ in range(10):
        clock.advance(80.0)
        (found,) = verdicts(await feed(shard, [], 10))
        assert (found.waiting_for, found.has_clock, found.labels) == ("traffic", False, UNMEASURED)


async def test_late_shadows_are_read_from_the_topic_of_decisions() -> None:
    log = Log()
    due = [
        replace(m, event=replace(m.event, shadows=(), shadows_due=tuple(s.version for s in m.event.shadows)))
        if isinstance(m.event, DecisionMade)
        else m
        for m in log.messages
    ]
    shard, _ = await shard_of(log, [], {})
    late: list[Message] = []
    for number, (was, now) in enumerate(zip(log.messages, due, strict=True)):
        late.append(now)
        if isinstance(was.event, DecisionMade):
            event = was.event
            scored = [
                ShadowScored(
                    event.request_id, "d", event.unit, s.version, event.at_s, s, None, event.took_ms[str(s.version)]
                )
                for s in event.shadows
            ]
            late += [replace(was, event=one, envelope=replace(was.envelope, id=f"s{number}")) for one in scored]
    counts: dict[str, int] = {}
    for place, message in enumerate(late):
        topic = message.record.topic
        late[place] = replace(message, record=replace(message.record, offset=counts.setdefault(topic, 0)))
        counts[topic] += 1
    found = verdicts(await feed(shard, late, 100))
    straight, _ = await shard_of(log, [], {})
    wanted = verdicts(await feed(straight, log.messages, 100))
    assert (found[-1].labels, found[-1].label_count) == (wanted[-1].labels, wanted[-1].label_count)
    assert found[-1].guardrails == PASS
    held, limit = shard.core.rollouts.holds()["rollout_shadows_due"]
    assert held < limit
