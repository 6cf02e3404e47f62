"""Deployments of four kinds, each from clean windows to a finding to its resolution, on a real broker."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from tests.e2e.findings_scene import BEGIN_S, DAY_S, HOUR_S, PLAYS, Stage, staged

from headrace.events.monitor import FindingOpened, FindingResolved, WindowClosed
from headrace.hosting.settings import Settings
from headrace.log.kafka import KafkaLog

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]

Records = Sequence[FindingOpened | FindingResolved]


async def of_drift(stage: Stage, records: Records, about: str, others: Sequence[str]) -> str:
    """Check the episode of a planted drift, and that nothing else paged. Returns what `finding show` prints about it."""
    play, (found,) = PLAYS[records[0].deployment], [r for r in records if is_above_info(r)]
    changed_s, well_s = (BEGIN_S + day * DAY_S for day in (play.wrong.start, play.wrong.stop))
    assert (found.kind, found.severity, found.version, found.detector) == ("drift", "page", 1, "charts")
    assert found.about == about
    assert changed_s < found.at_s <= well_s + 2 * HOUR_S
    assert found.evidence is not None
    assert found.evidence.first_place.startswith(stage.topics.name("inference.decisions"))
    assert found.evidence.first_at_s is not None
    assert changed_s <= found.evidence.first_at_s < changed_s + DAY_S
    days = [int(request.rpartition("-")[2]) // play.per_day for request in found.evidence.requests]
    assert days
    assert set(days) <= set(play.wrong)
    (over,) = [r for r in records if isinstance(r, FindingResolved) and r.finding == found.finding]
    assert (over.reason, over.about) == ("its charts are as usual again", about)
    assert over.at_s >= well_s + 3 * DAY_S
    shown = await stage.headrace("finding", "show", found.finding)
    for words in (
        f"drift of {play.name}  (resolved, page)",
        "/".join(found.evidence.first_place.split("/")[1:]),
        *others,
    ):
        assert words in shown, shown
    return shown


def is_above_info(record: FindingOpened | FindingResolved) -> bool:
    """Whether it opens a finding that does more than inform."""
    return isinstance(record, FindingOpened) and record.severity != "info"


async def of_a_unit(stage: Stage, records: Records) -> str:
    """Check the episode of a column in another unit, of a deployment without labels."""
    opened, over = records
    assert isinstance(opened, FindingOpened)
    assert (opened.kind, opened.about, opened.detector) == ("contract", "inputs.x1", "invalid")
    assert opened.severity == "warning"
    changed_s = BEGIN_S + PLAYS["photo"].wrong.start * DAY_S
    assert opened.at_s == changed_s + HOUR_S  # within an interval
    assert opened.evidence is not None
    assert opened.evidence.first_at_s is not None
    assert changed_s <= opened.evidence.first_at_s < changed_s + HOUR_S
    assert isinstance(over, FindingResolved)
    assert (over.finding, over.reason) == (opened.finding, "within its contract for 3 intervals")
    shown = await stage.headrace("finding", "show", opened.finding)
    assert "of the requests are refused for it" in shown
    assert opened.evidence.requests[0] in shown
    return shown


async def windows_of(stage: Stage, name: str) -> str:
    """Check what `monitor windows` shows of a deployment with labels: days that have closed, and the last one. Returns what it prints."""
    play = PLAYS[name]
    found = json.loads(await stage.headrace("monitor", "windows", name, "--last", "4", "--json"))
    published = await stage.read("monitor.windows", WindowClosed, name)
    assert [window["from_s"] for window in found["closed"]] == sorted(window.from_s for window in published)[-4:]
    assert found["closed_count"] == len(published) == play.days - 1
    for window in found["closed"]:
        assert (window["verdict"], window["requests"], window["labelled_share"]) == ("PASS", play.per_day, 1.0)
        assert [(one["version"], one["role"]) for one in window["qualities"]] == [(1, "champion")]
        assert {one["realised"] is not None for one in window["estimates"]} == {True}
        assert "ranking" in {point["chart"] for point in window["charts"]}
    (last,) = found["open"]
    assert (last["requests"], last["labelled_share"], last["is_full"]) == (play.per_day, 1.0, False)
    return await stage.headrace("monitor", "windows", name, "--last", "4")


async def shown_of(stage: Stage, found: Mapping[str, Records]) -> None:
    """Check every deployment that was played, and the alerts of all of them."""
    alerts = set()
    for name, records in found.items():
        match name:
            case "price":
                print(await of_drift(stage, records, "calibration", ["segment", "x2 "]))
            case "tree":
                print(await of_drift(stage, records, "ranking", ["segment", "x2 "]))
            case "fraud":
                print(await of_drift(stage, records, "ranking", []))
            case "photo":
                print(await of_a_unit(stage, records))
        if name != "photo":
            print(await windows_of(stage, name))
        alerts.add(("InputsBroken" if name == "photo" else "ModelDrift", name))
    assert await stage.alerts() == alerts


async def test_numbers_and_no_labels_from_clean_windows_to_a_finding_and_its_end(
    settings: Settings, kafka_log: KafkaLog, tmp_path: Path
) -> None:
    async with staged(settings, kafka_log, tmp_path) as stage:
        await shown_of(stage, await stage.played([PLAYS["price"], PLAYS["photo"]], 200.0))


@pytest.mark.slow
async def test_four_kinds_at_once_from_clean_windows_to_a_finding_and_its_end(
    settings: Settings, kafka_log: KafkaLog, tmp_path: Path
) -> None:
    async with staged(settings, kafka_log, tmp_path) as stage:
        await shown_of(stage, await stage.played(list(PLAYS.values()), 400.0))
