"""Every block of the guide is run, and does what the guide shows."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace_edge.keys import KeyFile

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]
GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "ask-for-predictions.md"
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", GUIDE.read_text(), re.DOTALL | re.MULTILINE)


def as_here(block: str, stack: Any) -> str:
    """The block with the address of this installation, and with the name that the model has here."""
    there = re.compile(r"(localhost|127\.0\.0\.1):8080")
    return there.sub(f"127.0.0.1:{stack.port}", block).replace("my-model", "flower")


def blocks(language: str) -> list[str]:
    """All blocks of the guide in a language."""
    return [text for found, text in BLOCKS if found == language]


@pytest.mark.parametrize("block", blocks("bash"))
def test_a_call_of_the_guide_is_answered(stack: Any, block: str) -> None:
    ran = subprocess.run(
        ["bash", "-euc", as_here(block, stack)], capture_output=True, text=True, timeout=60, check=True
    )
    answer = json.loads(ran.stdout)
    assert "error" not in answer
    label = answer.get("label") or answer["outputs"][0]["data"][0]
    assert label == "0"


@pytest.mark.parametrize("block", blocks("python"))
def test_a_program_of_the_guide_runs(stack: Any, block: str) -> None:
    program = as_here(block, stack)
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr


def test_the_same_program_runs_straight_over_kafka(stack: Any) -> None:
    (block,) = blocks("python")
    program = re.sub(r"http://127\.0\.0\.1:\d+", f"kafka://{stack.environ['KAFKA_BOOTSTRAP_SERVERS']}", block)
    command = [sys.executable, "-c", program.replace("my-model", "flower")]
    ran = subprocess.run(command, env=stack.environ, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("block", blocks("toml"))
def test_the_file_of_keys_can_be_read(block: str) -> None:
    (line,) = msgspec.convert(tomllib.loads(block), KeyFile).key
    assert (line.name, line.per_second) == ("shop", 50)
