"""`headrace apply` on a broker: a refused project is not published, and an applied one is printed with its effects."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.cases.declared_projects import PROJECT, spoiled
from tests.cases.pipeline_place import Place

from headrace.hosting.settings import Settings
from headrace.log.admin import ensure_topics
from headrace.log.kafka import KafkaLog
from headrace.log.views import read_all


@pytest.mark.slow
async def test_what_is_refused_is_not_published_and_what_is_applied_prints_what_it_will_do(
    settings: Settings, kafka_log: KafkaLog, tmp_path: Path
) -> None:
    place, file = Place(settings, kafka_log, tmp_path), tmp_path / "mine.py"
    await ensure_topics(kafka_log, place.topics.specs())

    def apply(text: str) -> subprocess.CompletedProcess[str]:
        file.write_text(text)
        command = [sys.executable, "-P", "-m", "headrace_cli", "apply", str(file)]
        return subprocess.run(command, env=place.environ, capture_output=True, text=True, timeout=120, check=False)

    async def published() -> int:
        return len(await read_all(kafka_log, place.codec, [place.topics.name("project.definitions")]))

    wrong = spoiled('            "log_loss"', '            "auc"')
    refused = apply(wrong)
    line = wrong.splitlines().index('            "auc",') + 1
    assert (refused.returncode, refused.stdout, await published()) == (2, "", 0)
    assert refused.stderr == (
        f"headrace: {file}:{line}: deployment late: a detector of Binary follows log_loss, got 'auc'; there are log_loss\n"
    )
    applied = apply(PROJECT)
    assert (applied.returncode, applied.stderr, await published()) == (0, "", 1)
    assert "  + deployment late\n" in applied.stdout
    assert "\ndeployment late\n  answers   about flight; until the first version the prior answers" in applied.stdout
    assert applied.stdout.endswith("project flights is applied\n")
    again = apply(PROJECT)
    assert (again.stdout, await published()) == ("project flights is unchanged\n", 1)
