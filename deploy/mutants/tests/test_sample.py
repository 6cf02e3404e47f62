"""A few mutants, by chance: the tests still notice nine of ten."""

import os
import subprocess
import sys

import pytest

# Where nine of ten were killed when last judged; a package joins once it is there.
HELD = ("common", "feature", "gateway", "inference", "monitor", "pipeline", "registry", "trainer")
SAMPLE, SEED = "48", os.environ.get("MUTANTS_SEED", "0")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_of_some_mutants_of_each_core_nine_of_ten_are_killed_or_each_that_lives_has_its_reason() -> None:
    command = [sys.executable, "-m", "deploy.mutants", "--quick", "--sample", SAMPLE, "--seed", SEED]
    command += [word for name in HELD for word in ("--only", name)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
