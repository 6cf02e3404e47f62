"""A whole back-test on the log in memory: what is read, what answers at the beginning, and what cannot be tried."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from libs.backtest.tests import log_scene
from libs.backtest.tests.log_scene import (
    A_DAY,
    DAYS,
    FIRST_DAY,
    TURNS,
    artifact,
    model_version,
    records,
    rows_of_stretch,
)
from libs.backtest.tests.scene import BEGIN_S, DAY
from msgspec.structs import replace

from headrace.clock import ManualClock
from headrace.errors import Misconfigured
from headrace.events.definition import digest_of
from headrace.events.project import ProjectApplied
from headrace.events.registry import ColumnPin, Signature
from headrace.features.rows import bare_signature
from headrace.log.admin import ensure_topics
from headrace.log.codec import Codec, out
from headrace.log.envelope import Envelope, format_instant
from headrace.log.memory import MemoryLog
from headrace.log.port import Out
from headrace.log.topics import Topics
from headrace.models import artifacts
from headrace.project.applied import Projects
from headrace.project.compile import compile_project
from headrace.project.load import Allowed, load_project
from headrace_backtest.order import Order
from headrace_backtest.running import Place, back_test

FROM_S, NOW_S = BEGIN_S + FIRST_DAY * DAY, BEGIN_S + 60 * DAY
ORDER = Order("d", FROM_S, fits=8)


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the project: a process has one module of each name."""
    return tmp_path_factory.mktemp("project")


class Told:
    """The progress of a back-test: its shares, in order."""

    def __init__(self) -> None:
        self.shares: list[float] = []

    def __call__(self, share: float, what: str) -> None:
        self.shares.append(share)


async def place(folder: Path, *, has_champion: bool = True, signature: Signature | None = None) -> Place:
    """The log of the scene, with version 1 registered or not. `signature`: of the logged rows, its own by default."""
    path = log_scene.written(folder)
    project, reference = load_project(str(path))
    definition, topics = compile_project(project), Topics.load()
    log, codec = MemoryLog(ManualClock(NOW_S)), Codec(topics)
    await ensure_topics(log, topics.specs(definition))
    applied = ProjectApplied("mine", digest_of(definition), reference, definition, 0.0)
    outs: list[Out] = [out(topics.name("project.definitions"), "mine", applied, Envelope("a", "", "test", 0.0))]
    bare = bare_signature(definition, definition.deployment("d"))
    outs += records(topics, signature or bare)
    if has_champion:
        where = await artifacts.publish(log, topics, artifact(), "skops", 0.0, "test")
        version = model_version(definition, definition.deployment("d"), where)
        if signature is not None:
            other = replace(version.registered, version=2, signature=signature)
            outs.append(_version(topics, "d/2", replace(version, registered=other, aliases=())))
        outs.append(_version(topics, "d/1", version))
    for written in outs:
        log.append(written)
    projects = Projects(log, codec, topics)
    await projects.start()
    return Place(log, codec, topics, projects, Allowed(reference), NOW_S)


def _version(topics: Topics, key: str, version: Any) -> Out:
    return out(topics.name("registry.models"), key, version, Envelope(key, "", "test", 0.0))


async def test_the_logged_version_answers_until_what_it_led_to_is_ready(mine: Path, tmp_path: Path) -> None:
    found, told = await place(mine), Told()
    path = tmp_path / "out" / "rows.parquet"
    report = await back_test(found, replace(ORDER, rows=str(path)), told)
    assert (report["requests"], report["labelled"]) == (rows_of_stretch(), rows_of_stretch())
    [own] = report["policies"]
    first = own["retrains"][0]
    assert (own["name"], own["alarms"], first["cause"], first["version"]) == ("as declared", 1, "drift", 2)
    assert first["at_s"] > BEGIN_S + TURNS * DAY
    assert own["gain"]["low"] > 0
    assert own["percentile_of_random"] > 75
    assert told.shares == sorted(told.shares)
    assert not [note for note in report["notes"] if "trained on what was labelled" in note]
    rows = pl.read_parquet(path)
    assert len(rows) == report["requests"]
    gains = (rows["never.loss"] - rows["as declared.loss"]).mean()
    assert gains == pytest.approx(own["gain"]["mean"])
    assert report["curves"]["gained"]["as declared"][-1] == pytest.approx(own["gain"]["mean"])
    answered = rows.filter(pl.col("at") < pl.lit(rows["at"].min()) + pl.duration(days=10))
    assert answered["as declared.version"].unique().to_list() == [1]
    model = log_scene.fitted()
    assert report["never"]["loss"] == pytest.approx(rows["never.loss"].mean())
    assert model.n_features_in_ == 2


async def test_where_no_version_can_be_loaded_the_first_one_is_trained_before_the_stretch(mine: Path) -> None:
    report = await back_test(await place(mine, has_champion=False), ORDER, Told())
    assert report["policies"][0]["retrains"][0]["version"] == 2
    assert "no version that answered then can be loaded" in report["notes"][0]


async def test_several_policies_are_tried_beside_each_other(mine: Path, tmp_path: Path) -> None:
    policies = tmp_path / "policies.toml"
    policies.write_text("[declared]\n[deaf]\nmonitoring = []\n")
    plant = f"flip=1@{format_instant(BEGIN_S + 18 * DAY)}..4d"
    order = replace(ORDER, policies=str(policies), plants=(plant,), to_s=BEGIN_S + 22 * DAY)
    report = await back_test(await place(mine), order, Told())
    declared, deaf = report["policies"]
    assert (declared["name"], deaf["name"], deaf["alarms"], deaf["gain"]["mean"]) == ("declared", "deaf", 0, 0.0)
    assert (deaf["delays"][0]["delay_s"], declared["delays"][0]["by"]) == (None, "drift")
    assert declared["false_alarms"] == 0


@pytest.mark.parametrize(
    ("order", "sentence"),
    [
        (Order("d", BEGIN_S + 50 * DAY), "holds no request of d from .*: its requests lie between"),
        (Order("d", BEGIN_S - 400 * DAY, BEGIN_S - 300 * DAY), "holds no request of d from .*, nor before"),
        (Order("d", FROM_S, FROM_S), "--to .* must lie after --from"),
        (Order("bare", FROM_S), "bare declares no training=Training"),
        (Order("idle", FROM_S), "holds no request of idle"),
        (Order("nobody", FROM_S), "no applied project declares 'nobody'"),
        (Order("d", FROM_S, plants=("flip=2@2013-04-20",)), "a share in 0"),
    ],
)
async def test_what_cannot_be_tried_is_refused_in_a_sentence(mine: Path, order: Order, sentence: str) -> None:
    with pytest.raises(Misconfigured, match=sentence):
        await back_test(await place(mine), order, Told())


async def test_a_beginning_without_any_version_is_refused(mine: Path) -> None:
    with pytest.raises(Misconfigured, match=r"no version of d can answer at .* choose a later --from"):
        await back_test(await place(mine, has_champion=False), replace(ORDER, from_s=BEGIN_S + DAY), Told())


async def test_a_project_that_this_host_does_not_allow_is_not_imported(mine: Path) -> None:
    found = await place(mine)
    elsewhere = Place(found.log, found.codec, found.topics, found.projects, Allowed("other"), NOW_S)
    with pytest.raises(Misconfigured, match="is not allowed here"):
        await back_test(elsewhere, ORDER, Told())


@pytest.mark.parametrize("columns", [("a", "c"), ("a",)])
async def test_rows_of_other_columns_are_refused(mine: Path, columns: Sequence[str]) -> None:
    other = Signature(tuple(ColumnPin(name) for name in columns), "other", "other")
    with pytest.raises(Misconfigured, match="the columns of d changed between"):
        await back_test(await place(mine, signature=other), ORDER, Told())


def test_the_scene_has_labels_for_whole_days() -> None:
    assert rows_of_stretch() == (DAYS - FIRST_DAY) * A_DAY
