"""What the commands load before they know which one is meant: every library here is waited for at each command."""

import subprocess
import sys

LATE = ("httpx", "polars", "sklearn", "river", "onnxruntime", "prometheus_client")


def test_libraries_that_few_commands_need_are_not_loaded_at_the_start() -> None:
    code = f"import sys, headrace_cli.main; print([name for name in {LATE!r} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
