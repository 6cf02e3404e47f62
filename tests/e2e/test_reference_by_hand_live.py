"""A model without labels that is registered by hand with rows that are normal for it: nulls and drift within range are found, on a broker."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import skops.io
from sklearn.ensemble import HistGradientBoostingRegressor
from tests.e2e.findings_scene import BEGIN_S, DAY_S, HOUR_S, Stage, staged

from headrace.events.inference import PredictionRequested
from headrace.events.monitor import FindingOpened, WindowClosed
from headrace.hosting.settings import Settings
from headrace.log.codec import out
from headrace.log.envelope import Envelope
from headrace.log.kafka import KafkaLog
from headrace.log.port import Out

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(400)]

PROJECT = """
from headrace.project import Deployment, Number, Project

inputs = [Number("x", -9, 9), Number("y", -9, 9, nullable=True)]
project = Project("bare", deployments=[Deployment("bare", unit="request", inputs=inputs)])
"""
PER_DAY, DAYS, WRONG = 1200, 4, 2


def drawn(days: int, seed: int, shift: float = 0.0, null_share: float = 0.02) -> tuple[list[float], list[float | None]]:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(2, days * PER_DAY)).clip(-4, 4)
    return (x + shift).tolist(), np.where(rng.random(len(y)) < null_share, None, y).tolist()


async def registered(stage: Stage) -> str:
    """Apply the project, and register a model with a file of forty days; what the command prints."""
    (stage.folder / "bare.py").write_text(PROJECT)
    await stage.headrace("apply", "bare.py")
    x, y = drawn(40, 1)
    rows = pl.DataFrame({"at": [BEGIN_S + (n / PER_DAY - 40) * DAY_S for n in range(len(x))], "x": x, "y": y})
    rows.write_csv(stage.folder / "rows.csv")
    matrix = rows.select("x", "y").cast(pl.Float64).to_numpy()
    fitted = HistGradientBoostingRegressor(max_iter=20).fit(matrix, matrix[:, 0])
    skops.io.dump(fitted, stage.folder / "bare.skops")
    return await stage.headrace("model", "register", "bare.skops", "--deployment", "bare", "--reference", "rows.csv")


def requests(stage: Stage) -> list[Out]:
    """Days of requests, of which those from `WRONG` on have `x` moved within its range, and half of `y` missing."""
    good, bad = drawn(WRONG, 2), drawn(DAYS - WRONG, 3, shift=1.0, null_share=0.5)
    found = []
    for n, (x, y) in enumerate(zip(good[0] + bad[0], good[1] + bad[1], strict=True)):
        event = PredictionRequested("bare", {"x": x, "y": y})
        envelope = Envelope(f"r-{n}", "", "test", BEGIN_S + (n + 0.5) * DAY_S / PER_DAY)
        found.append(out(stage.topics.name("inference.requests"), f"u{n}", event, envelope))
    return found


async def test_nulls_and_drift_within_range_are_found(settings: Settings, kafka_log: KafkaLog, tmp_path: Path) -> None:
    async with staged(settings, kafka_log, tmp_path) as stage:
        assert "version 1 of bare is registered and takes traffic" in await registered(stage)
        await stage.send(requests(stage))

        async def is_found() -> bool:
            kinds = {found.kind for found in await stage.read("monitor.findings", FindingOpened, "bare")}
            return kinds >= {"contract", "inputs"}

        await stage.until(is_found, 120.0)
        found = await stage.read("monitor.findings", FindingOpened, "bare")
        changed_s = BEGIN_S + WRONG * DAY_S
        (nulls,) = [one for one in found if one.kind == "contract"]
        assert (nulls.about, nulls.detector, nulls.severity) == ("inputs.y", "null", "warning")
        assert changed_s < nulls.at_s <= changed_s + 3 * HOUR_S
        moved = [one for one in found if one.kind == "inputs"]
        assert all(one.severity == "info" and one.at_s > changed_s for one in moved)
        assert any("x" in one.summary for one in moved)
        windows = await stage.read("monitor.windows", WindowClosed, "bare")
        assert {column.column for column in windows[0].columns} == {"x", "y", "score"}
        assert not any(column.is_moved for column in windows[0].columns)
        shown = await stage.headrace("monitor", "windows", "bare")
        assert "no label is declared" in shown
        assert "inputs and scores moved away from the training rows: " in shown
