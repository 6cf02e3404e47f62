"""`headrace rollout simulate` and `apply` on a broker: a deployment's own decisions and labels, as a table and as JSON."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.cases.pipeline_place import Place

from headrace.events.inference import DecisionMade, OutcomeObserved, Score, Served
from headrace.hosting.settings import Settings
from headrace.log.admin import ensure_topics
from headrace.log.codec import out
from headrace.log.envelope import Envelope
from headrace.log.kafka import KafkaLog

DAY_S, A_DAY, DAYS = 86_400.0, 60, 7
START_S = 19_000 * DAY_S
PROJECT = """from headrace.project import *

project = Project("p", [Deployment("d", "u", [Number("x")], label=Binary("late", "24h"), rollout=BlueGreen({}))])
"""


async def write_traffic(log: KafkaLog, place: Place) -> None:
    """A week of decisions with labels that are right on average."""
    dice, producer = np.random.default_rng(1), await log.producer()
    for day in range(DAYS):
        outs = []
        for number in range(day * A_DAY, (day + 1) * A_DAY):
            at_s, score, unit = START_S + number * DAY_S / A_DAY, float(dice.random()), f"u{number}"
            decision = DecisionMade(f"r{number}", "d", unit, at_s, Served(Score(1, "", score)), number)
            outcome = OutcomeObserved("d", unit, float(dice.random() < score))
            for topic, event, known_s in (("decisions", decision, at_s), ("outcomes", outcome, at_s + 60)):
                envelope = Envelope(f"{topic}-{number}", "", "test", known_s)
                outs.append(out(place.topics.name(f"inference.{topic}"), unit, event, envelope))
        await producer.send(outs)
    await producer.close()


@pytest.mark.slow
async def test_a_deployments_own_log_is_simulated(settings: Settings, kafka_log: KafkaLog, tmp_path: Path) -> None:
    place = Place(settings, kafka_log, tmp_path)
    await ensure_topics(kafka_log, place.topics.specs())

    def headrace(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-P", "-m", "headrace_cli", *words]
        return subprocess.run(command, env=place.environ, capture_output=True, text=True, timeout=120, check=False)

    project = tmp_path / "mine.py"
    project.write_text(PROJECT.format(""))
    assert headrace("apply", str(project)).returncode == 0
    nothing = headrace("rollout", "simulate", "d")
    assert nothing.returncode == 2
    assert nothing.stderr.startswith("headrace: no version of d has answered a request yet, so there is nothing to")

    await write_traffic(kafka_log, place)
    plan = tmp_path / "plan.toml"
    plan.write_text('min_cycles = 5\nblock = "6h"\nmargin = 0.03\nlabel_delay = "1h"\n')
    found = headrace("rollout", "simulate", "d", "--plan", str(plan), "--runs", "20", "--json")
    assert (found.returncode, found.stderr) == (0, "")
    values = json.loads(found.stdout)
    # NB: the label delay of the last hour's three requests has not passed.
    assert (values["cycles"], values["labels"], values["indicative"], values["versions"]) == (DAYS, 417, True, [1])
    rates = {row["version"]: (row["failed"]["share"], row["passed"]["share"]) for row in values["rows"]}
    assert (rates["the same scores"], rates["labels flipped"]) == ((0.0, 1.0), (1.0, 0.0))

    shown = headrace("rollout", "simulate", "d", "--plan", str(plan), "--runs", "20")
    assert shown.stdout.startswith(
        "d: INDICATIVE: below 60 cycles; 7 independent cycles of 1d with 417 labels on the log;"
    )
    assert "\nlabels shuffled " in shown.stdout
    plan.write_text("margins = 0.03\n")
    refused = headrace("rollout", "simulate", "d", "--plan", str(plan))
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith(f"headrace: {plan}: a plan has no such key, got 'margins': did you mean 'margin'?")

    project.write_text(PROJECT.format("min_cycles=5"))
    applied = headrace("apply", str(project))
    assert (applied.returncode, applied.stderr) == (0, "")
    assert "\n  finds     by labels, from 6 cycles on the log: an AUC lower by 0.05 " in applied.stdout
