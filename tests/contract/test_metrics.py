"""The metric catalogue: every service is driven until each of its metrics has been set, and exports nothing else."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from services.feature.tests import test_feature_shard as feature
from services.inference.tests.conftest import Bench as InferenceBench
from services.registry.tests.conftest import Bench as RegistryBench
from services.trainer.tests.test_shell import ACCEPTED, Written, shard
from sklearn.ensemble import HistGradientBoostingClassifier
from tests.cases.monitor_alone import CODEC, DAY, DECISIONS, OUTCOMES, RELEASES, TOPICS, Monitor, compiled, one
from tests.cases.receivers_scene import Hook, World, on, serving

from headrace.clock import ManualClock
from headrace.events.audit import AuditKept
from headrace.events.charts import ChartPoint
from headrace.events.inference import DecisionMade, OutcomeObserved, Score, Served
from headrace.events.monitor import WindowClosed
from headrace.events.registry import AliasMoved
from headrace.events.training import TrainingFinished
from headrace.hosting import catalogue as of
from headrace.hosting.catalogue import CATALOGUE, LABELS, SERVICES
from headrace.hosting.health import Health
from headrace.hosting.measured import MOST_SERIES, Measured
from headrace.hosting.metrics import page
from headrace.latency import BOUNDS_S
from headrace.log.admin import ensure_topics
from headrace.log.codec import Codec
from headrace.log.memory import MemoryLog
from headrace.log.port import Out, Record, TopicPartition
from headrace.log.topics import Topics
from headrace.log.views import read_all
from headrace.project import (
    Category,
    Charts,
    Deployment,
    FeatureView,
    Mean,
    Number,
    PageHinkley,
    Project,
    Source,
    prior,
)
from headrace.project.compile import compile_project
from headrace.project.compile_streams import event_struct
from headrace.testing.metrics import Samples, scraped, unset
from headrace_edge.edge import Edge, respond
from headrace_edge.rules.callers import ANYONE
from headrace_edge.rules.limits import EdgeLimits
from headrace_edge.rules.replies import as_json
from headrace_feature.shell import FeatureShard
from headrace_inference.adapters.load_shedding import LoadShedding
from headrace_inference.core.overload import Waited
from headrace_monitor.adapters.health_gauges import WINDOWS_READ
from headrace_monitor.core.facts import MonitoringFailed, WindowReported
from headrace_registry.settings import REPORT_EVERY_S

WINDOWS = TOPICS.name("monitor.windows")
ROOT = Path(__file__).parents[2]
Drive = Callable[[MemoryLog, ManualClock], Awaitable[list[Samples]]]
# It is enough that these are exported: nothing is behind at the end, and nothing hangs.
MAY_BE_ZERO = (of.LAG, of.HUNG_CALLS, of.VIEW_BUILT)

LANDINGS = Source("landings", event=feature.Landing, event_time="landed_at", key="carrier")
CARRIER = FeatureView("carrier", LANDINGS, "carrier", {"mean": Mean("delay_min", "3h", stale_after="10m")})
SERVED = compile_project(
    Project(
        "flights",
        [
            Deployment(
                "delay",
                "flight",
                [Number("miles", 0, 6000), Category("carrier")],
                [CARRIER.by("carrier")],
                fallback=[prior(0.3)],
            )
        ],
        sources=[LANDINGS],
        views=[CARRIER],
    )
)


CROSSED = ChartPoint("ranking", 1, 0.5, 0.01, 10, statistic=270.0, limit=180.0)


async def drive_inference(log: MemoryLog, clock: ManualClock) -> Health:
    """Answers with and without a model, with features that are old or missing, under load, and a record that is none."""
    bench = InferenceBench(log, clock)
    await ensure_topics(log, bench.topics.specs(SERVED))
    await bench.apply(SERVED)
    rows = np.random.default_rng(7).normal(size=(60, 3))
    model = HistGradientBoostingClassifier(max_iter=2, early_stopping=False).fit(rows, rows[:, 0] > 0)
    await bench.register("delay", 3, model, project=SERVED)
    await bench.route("delay", {3: 1.0}, champion=3)
    async with bench.running():
        await bench.send([Out(bench.topics.name("inference.requests"), b"u", b"\xc1 no request")])
        for carrier in ("AA", "nobody knows it"):
            await bench.ask("delay", {"miles": 500.0, "carrier": carrier})
        await bench.until(lambda: sum(found for found in answered(bench.health).values()) == 2)
        await bench.until(lambda: bool(bench.health.lag) and bench.health.dead_lettered == 1)
        LoadShedding(clock, bench.health, lambda _: None).note("delay", Waited(0.6, 2.4))
        return [scraped(bench.health)]


def answered(health: Health) -> Mapping[str, int]:
    traffic = health.report().traffic
    return traffic["delay"].outcomes if "delay" in traffic else {}


async def drive_feature(log: MemoryLog, clock: ManualClock) -> Health:
    """Events that are new, too late and repeated; and a view that is being built."""
    topics, project = Topics.load(), feature.DEDUPED
    codec = Codec(topics, {topics.of_source("landings"): event_struct(project.sources[0])})
    await ensure_topics(log, topics.specs(project))
    bench = feature.Bench(log, topics, codec, project)
    clock.advance(31 * DAY)
    await bench.send(*[bench.landing(at, 1.0) for at in (30 * 86_400, 30 * 86_400 + 1, 0)])
    await bench.fold(3)
    health, history = bench.health, topics.name("features.online")
    beside = FeatureShard(topics, [feature.CHANGED], 0, bench.history, health)
    for message in await read_all(log, codec, [history]):
        if message.record.partition == 0:
            await beside.on_history(message)
    await beside.on_start({TopicPartition(topics.of_source("landings"), 0): 3})
    await beside.on_tick()
    found = scraped(health)
    await beside.on_close()
    return [found]


async def drive_registry(log: MemoryLog, clock: ManualClock) -> Health:
    """A canary that takes its first share."""
    bench = await RegistryBench(log, clock).set_up()
    async with bench.running():
        await bench.start_canary()
        clock.advance(REPORT_EVERY_S)
        await until(lambda: any(value for _, value in scraped(bench.health).get(of.ROLLOUT_SHARE.name, ())))
        found = scraped(bench.health)
    await bench.projects.stop()
    assert found[of.ROLLOUT_SHARE.name] == [({"deployment": "d"}, 0.05)]
    return [found]


async def drive_monitor(_: MemoryLog, __: ManualClock) -> Health:
    """Windows that close, requests and labels that come after that, a finding, and an alert that pages."""
    monitor = Monitor(compiled(one("d", monitoring=[PageHinkley(), Charts()])))
    await monitor.start()
    await monitor.read(monitor.message(RELEASES, AliasMoved("d", "champion", 1, None, ""), 0.0))
    await monitor.live("d", days=3)
    late = DecisionMade("late", "d", "late", 0.0, Served(Score(1, "m", 0.4)), 99)
    await monitor.read(monitor.message(DECISIONS, late, 0.0))
    await monitor.read(monitor.message(OUTCOMES, OutcomeObserved("d", "late", 1.0), 60.0))
    correction = OutcomeObserved("d", "u0", 1.0, corrects=f"{OUTCOMES}0")
    await monitor.read(monitor.message(OUTCOMES, correction, 1.9 * DAY))
    core = monitor.shard.core
    core.alerting.on_failure(MonitoringFailed("d", "windows", ValueError("no")), monitor.shard._now())
    await monitor.tick()
    labelled = scraped(monitor.health)
    assert [value for _, value in labelled[of.LABEL_DELAY.name]] == [60.0]
    assert labelled[of.PAGES.name] == [({}, 1.0)]
    await restarted_with_the_same_figures(monitor)
    for n in range(30, 80):
        decision = DecisionMade(f"r{n}", "d", f"u{n}", n * DAY / 10, Served(Score(1, "m", 0.4)), n)
        await monitor.read(monitor.message(DECISIONS, decision, decision.at_s))
    await monitor.tick()
    unlabelled = scraped(monitor.health)
    assert unlabelled[of.FINDINGS.name] == [({"kind": "labels"}, 1.0)]
    compared = WindowClosed(
        "d", 0.0, DAY, 10, 10, 0.5, "PASS", parity_rows=10, missing_share=0.1, drift_statistic=0.2, charts=(CROSSED,)
    )
    monitor.shard._gauges.note([WindowReported(compared, 1)])
    await monitor.tick()
    assert scraped(monitor.health)[of.CHART.name] == [({"deployment": "d", "chart": "ranking"}, 1.5)]
    assert labelled[of.PAGES_LEFT.name] == [({"deployment": "d"}, 1.0)]
    watched = core.deployments.watched["d"]
    watched.findings = replace(watched.findings, audit=AuditKept(0.1, 0.0, trials=20, failed=2, rolled_back=1))
    await monitor.tick()
    assert scraped(monitor.health)[of.AUDIT_RATE.name] == [
        ({"deployment": "d", "outcome": "false_alarm"}, 0.1),
        ({"deployment": "d", "outcome": "rollback"}, 0.05),
    ]
    return [labelled, unlabelled, scraped(monitor.health)]


async def restarted_with_the_same_figures(monitor: Monitor) -> None:
    """The next owner reads the newest windows again, and exports what they showed before the next one closes."""
    before, windows = scraped(monitor.health), [made for made in monitor.outs if made.topic == WINDOWS]
    (topic,) = [found for found in monitor.shard.rebuild() if not found.whole]
    assert (topic.topic, topic.tail_records) == (WINDOWS, WINDOWS_READ)
    again = Monitor(compiled(one("d", monitoring=[PageHinkley()])))
    for offset, made in enumerate(windows):
        await again.shard.on_history(CODEC.decode(Record(made.topic, 0, offset, made.key, made.value, made.headers)))
    await again.start()
    await again.tick()
    assert scraped(again.health)[of.QUALITY.name] == before[of.QUALITY.name]
    assert scraped(again.health)[of.WINDOW_END.name] == before[of.WINDOW_END.name]


async def drive_trainer(_: MemoryLog, __: ManualClock) -> Health:
    """A run under way, and one that has ended."""
    running = Written()
    found = await shard(running, ACCEPTED)
    health = found._context.health
    await found.on_tick()
    under_way = scraped(health)
    running.entries += [TrainingFinished("d", "run-1", "registered", "", took_s=70.0)]
    await found.on_tick()
    assert scraped(health)[of.RUN.name] == [({"outcome": "registered"}, 1.0)]
    return [under_way, scraped(health)]


async def drive_forwarder(log: MemoryLog, _: ManualClock) -> Health:
    """A receiver that fails at first, refuses one alert, and takes the others."""
    world, hook = World(log), Hook()
    await world.begin()
    answers = iter((503, 400, 200, 400, 200))
    hook.status = lambda body: next(answers)
    with serving(hook) as url:
        await world.send(*[on(n) for n in range(3)])
        async with world.forwarding(url):
            await until(lambda: bool(scraped(world.health)[of.NOT_TAKEN.name][0][1]))
            behind = scraped(world.health)
            await until(lambda: world.health.handled == 3)
    assert behind[of.NOT_FORWARDED.name] == [({"receiver": "webhook"}, 3.0)]
    found = scraped(world.health)
    assert found[of.FORWARDED.name] == [({"receiver": "webhook"}, 2.0)]
    assert found[of.LEFT_OUT.name] == [({"receiver": "webhook"}, 1.0)]
    return [behind, found]


async def drive_http(_: MemoryLog, __: ManualClock) -> Health:
    """Calls that are answered, refused by the app, and fail."""
    health = Health("gateway", "g", failures={})

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/broken":
            raise ZeroDivisionError
        await respond(send, as_json(404 if scope["path"] == "/none" else 200, {}), {})

    edge = Edge(app, lambda scope, headers: ANYONE, EdgeLimits(), health=health)
    for path in ("/", "/", "/none", "/broken"):
        await edge({"type": "http", "method": "GET", "path": path, "headers": []}, nothing, nothing)
    counted = {labels["status"]: value for labels, value in scraped(health)[of.HTTP_REQUESTS.name]}
    assert counted == {"2xx": 2.0, "4xx": 1.0, "5xx": 1.0}
    return [scraped(health)]


async def nothing(*_: Any) -> Any:
    return None


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.01)


DRIVES: Mapping[str, Drive] = {
    "inference": drive_inference,
    "feature": drive_feature,
    "registry": drive_registry,
    "monitor": drive_monitor,
    "trainer": drive_trainer,
    "gateway": drive_http,
    "forwarder": drive_forwarder,
}


@pytest.mark.parametrize("service", DRIVES)
async def test_each_metric_of_a_service_is_set_and_it_exports_no_other(
    service: str, memory_log: MemoryLog, clock: ManualClock
) -> None:
    pages = await DRIVES[service](memory_log, clock)
    assert unset(service, pages, MAY_BE_ZERO) & _set_by(service) == set()


def _set_by(service: str) -> set[str]:
    """The metrics that a drive sets. What services share is set by one of them: the code behind it is the same in all."""
    own = {metric.name for metric in of.of_service(service) if len(metric.services) == 1}
    if service == "inference":
        return {metric.name for metric in of.of_service(service)}
    return own | {of.HTTP.name, of.HTTP_REQUESTS.name, of.UNFORESEEN.name} if service == "gateway" else own


def test_every_metric_is_set_by_one_of_these_drives() -> None:
    assert CATALOGUE.keys() == {name for service in DRIVES for name in _set_by(service)}


def test_names_units_labels_and_services_are_of_closed_sets() -> None:
    for metric in CATALOGUE.values():
        assert re.fullmatch(r"headrace(_[a-z0-9]+)+", metric.name)
        assert metric.name.endswith("_total") == (metric.kind == "counter"), metric.name
        assert set(metric.labels) <= LABELS.keys()
        assert set(metric.services) <= set(SERVICES)
        assert bool(metric.bounds) == (metric.kind == "histogram")
        assert list(metric.bounds) == sorted(metric.bounds)
        own = metric.services[0] if len(metric.services) == 1 and metric is not of.WARMED else None
        assert own is None or metric.name.startswith(f"headrace_{own}_"), metric.name
        assert ("service" in metric.labels) == (own is None), metric.name
    assert all(label in {label for metric in CATALOGUE.values() for label in metric.labels} for label in LABELS)
    assert of.LATENCY.bounds == of.STAGE.bounds == of.COMMIT.bounds == BOUNDS_S


def test_nothing_else_in_the_sources_makes_metrics() -> None:
    sources = [path for folder in ("libs", "services") for path in (ROOT / folder).glob("*/src/**/*.py")]
    makers = {path.name for path in sources if re.search(r"^(from|import) prometheus_client", path.read_text(), re.M)}
    assert makers == {"metrics.py", "http.py"}


def test_series_are_bounded_and_what_is_beyond_is_counted_together() -> None:
    measured, health = Measured(), Health("gateway", "g")
    health.measured = measured
    for number in range(MOST_SERIES + 3):
        measured.count(of.HTTP_REQUESTS, "gateway", f"{number}xx")
    measured.replace(of.ROLLOUT_SHARE, {(f"d{number}",): 0.5 for number in range(MOST_SERIES + 3)})
    assert len(measured.read(of.HTTP_REQUESTS)) == MOST_SERIES + 1
    assert measured.read(of.HTTP_REQUESTS)["other", "other"] == 3
    assert len(measured.read(of.ROLLOUT_SHARE)) == MOST_SERIES
    with pytest.raises(ValueError, match="has the labels"):
        measured.count(of.HTTP_REQUESTS, "gateway")


def test_a_histogram_is_cumulative_and_its_last_bucket_holds_all() -> None:
    health = Health("inference", "i")
    for seconds in (0.003, 0.02, 0.02, 99.0):
        health.commits.add(seconds)
    text = page(health).decode()
    for bound, count in (("0.005", 1), ("0.01", 1), ("0.025", 3), ("10.0", 3), ("+Inf", 4)):
        assert f'headrace_commit_seconds_bucket{{le="{bound}",service="inference"}} {count:.1f}' in text
    assert 'headrace_commit_seconds_count{service="inference"} 4.0' in text
