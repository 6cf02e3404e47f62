"""A number in the guides that states a default or a limit is read from the code, and must stand there as it is."""

import inspect
from pathlib import Path

import pytest

from headrace.asking.requests import LONGEST_WAIT_MS, MAX_ID_BYTES, MAX_ROWS
from headrace.features.samples import ROWS
from headrace.hosting.settings import Settings
from headrace.hosting.watchdog import LONGEST_TRANSACTION_MS
from headrace.log import poison
from headrace.log.kafka_writers import TRANSACTION_TIMEOUT_S
from headrace.models import proving
from headrace.project import Breaker, Canary, pipeline
from headrace.project.deployments import GUARDRAILS
from headrace_cli.client import AsyncClient
from headrace_cli.client.rows import LONGEST_DEADLINE_S
from headrace_cli.models.samples import MOST_ROWS
from headrace_cli.projects.expectations import CYCLES
from headrace_cli.simulation.recorded import FEW_DECISIONS, MOST_DECISIONS
from headrace_cli.simulation.simulating import ENOUGH_CYCLES
from headrace_gateway.settings import Limits
from headrace_inference.core.overload import LINES

ROOT = Path(__file__).parents[2]


def default_of(function: object, name: str) -> object:
    return inspect.signature(function).parameters[name].default  # ty: ignore[invalid-argument-type]  # a class or function


shed, baseline, requests = (f"{share:.0%}".replace("%", " %") for share in LINES)
breaker = Breaker()
distribution = next(rail for rail in GUARDRAILS if rail.metric == "distribution")

# the guide, and the text that it must contain
NUMBERS = [
    ("write-a-pipeline", f"takes longer than `limit` ({str(default_of(pipeline, 'limit'))[:-1]} s)"),
    ("write-a-pipeline", f"More than\n  {poison.IN_A_ROW} in a row, or {poison.SHARE:.0%}".replace("%", " %")),
    ("write-a-pipeline", f"of {poison.WINDOW:,}, stop this pipeline"),
    ("ask-for-predictions", f"`deadline_s` ({default_of(AsyncClient, 'deadline_s'):g} s, at most an hour)"),
    ("ask-for-predictions", f"one try waits {LONGEST_WAIT_MS / 1000:.0f} s at most"),
    ("ask-for-predictions", f"ids of {MAX_ID_BYTES} bytes at most"),
    ("ask-for-predictions", f"Bodies have {Settings().gateway_body_bytes // 1024} KiB at most"),
    ("ask-for-predictions", f"a call {MAX_ROWS} rows; {Settings().gateway_connections:,} connections"),
    ("ask-for-predictions", f"and {Limits().in_flight:,} rows wait"),
    ("bring-a-model", f"the first {MOST_ROWS:,} rows"),
    ("bring-a-model", f"Then {ROWS} rows that the contract allows"),
    ("bring-a-model", f"({proving.WITHIN:.0e}, ONNX {proving.ONNX_WITHIN:.0e})".replace("e-0", "e-")),
    ("bring-a-model", f"Up to {proving.KEPT_ROWS} of the rows"),
    ("how-a-rollout-is-judged", f"The default limit is {distribution.limit:g}".replace("0.", ".")),
    ("keep-answering", f"`window` ({str(breaker.window)[:-1]} s, {breaker.window_calls} calls at most, {breaker.min_calls} at least)"),
    ("keep-answering", f"when half failed or {breaker.slow_share:.0%}".replace("%", " %")),
    ("keep-answering", f"waited for {shed} of its deadline, shadows stop scoring; at {baseline} the baseline"),
    ("keep-answering", f"at {requests} requests that have waited for {baseline} are refused"),
    ("release-a-version", f"`give_up_after` (`{Canary().give_up_after}`)"),
    ("release-a-version", f"(`--decisions`, {MOST_DECISIONS:,})"),
    ("release-a-version", f"the newest {FEW_DECISIONS:,} decisions and {CYCLES} cycles"),
    ("release-a-version", f"Below {ENOUGH_CYCLES} of them the head says INDICATIVE"),
    ("who-may", f"abort them after {LONGEST_TRANSACTION_MS / 1000:.0f} s"),
    ("who-may", f"\n{TRANSACTION_TIMEOUT_S:.0f} s, which is what our own transactions ask for"),
]  # fmt: skip


@pytest.mark.parametrize(("guide", "text"), NUMBERS, ids=[f"{guide}: {text[:40]!r}" for guide, text in NUMBERS])
def test_a_number_in_a_guide_is_the_codes(guide: str, text: str) -> None:
    assert text in (ROOT / "docs" / "guides" / f"{guide}.md").read_text()


def test_what_the_guides_state_in_words_is_the_codes_too() -> None:
    assert LONGEST_DEADLINE_S == 3600
    assert breaker.failure_share == 0.5
    assert Canary().block == "1h"
