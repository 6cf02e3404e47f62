"""`headrace monitor backtest` on a broker: a deployment's own log, as a table, as JSON, and as files."""

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from libs.backtest.tests import log_scene
from libs.backtest.tests.scene import BEGIN_S, DAY
from tests.cases.pipeline_place import Place

from headrace.features.rows import bare_signature
from headrace.hosting.settings import Settings
from headrace.log.codec import out
from headrace.log.envelope import Envelope, format_instant
from headrace.log.kafka import KafkaLog
from headrace.log.views import read_all
from headrace.models import artifacts
from headrace.project.compile import compile_project
from headrace.project.load import load_project

FROM = format_instant(BEGIN_S + log_scene.FIRST_DAY * DAY)
TO = format_instant(BEGIN_S + log_scene.DAYS * DAY)


async def write_log(log: KafkaLog, place: Place, project: Path) -> None:
    definition = compile_project(load_project(str(project))[0])
    deployment, producer = definition.deployment("d"), await log.producer()
    outs = list(log_scene.records(place.topics, bare_signature(definition, deployment)))
    for begin in range(0, len(outs), 2000):
        await producer.send(outs[begin : begin + 2000])
    where = await artifacts.publish(log, place.topics, log_scene.artifact(), "skops", 0.0, "test")
    version = log_scene.model_version(definition, deployment, where)
    await producer.send([out(place.topics.name("registry.models"), "d/1", version, Envelope("v", "", "test", 0.0))])
    await producer.close()


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_deployments_own_log_is_back_tested(settings: Settings, kafka_log: KafkaLog, tmp_path: Path) -> None:
    place = Place(settings, kafka_log, tmp_path)
    project = log_scene.written(tmp_path)

    def headrace(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-P", "-m", "headrace_cli", *words]
        whole = {**os.environ, **place.environ, **environ}
        return subprocess.run(command, env=whole, capture_output=True, text=True, timeout=120, check=False)

    assert headrace("apply", str(project)).returncode == 0
    nothing = headrace("monitor", "backtest", "d", "--from", FROM)
    assert (nothing.returncode, nothing.stdout) == (2, "")
    assert nothing.stderr.startswith("headrace: the log holds no request of d from 2013-04-11T00:00:00Z to ")

    await write_log(kafka_log, place, project)
    folder = tmp_path / "found"
    words = ("monitor", "backtest", "d", "--from", FROM, "--to", TO, "--fits", "8", "--out", str(folder))
    found = headrace(*words, "--json")
    assert (found.returncode, found.stderr) == (0, "")
    report = json.loads(found.stdout)
    [own] = report["policies"]
    assert (report["requests"], own["alarms"], own["retrains"][0]["cause"]) == (log_scene.rows_of_stretch(), 1, "drift")
    assert own["gain"]["low"] > 0
    assert json.loads((folder / "report.json").read_text()) == report
    assert len(pl.read_parquet(folder / "rows.parquet")) == report["requests"]
    assert (folder / "plot.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")

    topic = place.topics.name("monitor.backtests")
    assert await read_all(kafka_log, place.codec, [topic]) == []
    shown = headrace(*words, "--publish")
    [published] = await read_all(kafka_log, place.codec, [topic])
    assert (published.record.key, published.event.policies[0].gain) == (b"d", own["gain"]["mean"])
    assert published.event.curve_at_s == tuple(report["curves"]["at_s"])
    assert "/deployments/d/monitoring#backtest" in shown.stdout
    assert shown.stdout.startswith(f"d: {report['requests']:,} requests from 2013-04-11 00:00:00 to ")
    assert f"{own['gain']['mean']:+.4f} [" in shown.stdout
    assert "retrains that answered" in shown.stdout
    away = headrace(*words, KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1")
    assert (away.returncode, away.stdout) == (1, "")
    assert away.stderr.startswith("headrace: no Kafka broker answers at 127.0.0.1:1")
    unlike = headrace("monitor", "backtest", "d", "--from", "June")
    assert unlike.stderr.startswith("headrace: --from is a day or an instant")
