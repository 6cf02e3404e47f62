"""The memory of a large buffer is returned to the system when it is free, whatever was allocated after it."""

import subprocess
import sys

import pytest

# Each large block is freed after a smaller one was made behind it, as a fetch is after what was read from it.
PROGRAM = """
import sys
import psutil
from headrace.hosting.runtime import give_back_buffers

if sys.argv[1] == "given back":
    assert give_back_buffers()
kept = []
before = psutil.Process().memory_info().rss
for _ in range(12):
    large = [bytearray(8 * 2**20) for _ in range(4)]
    kept.append(bytearray(100_000))
    del large
print((psutil.Process().memory_info().rss - before) // 2**20)
"""


def grown_mb(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, timeout=60, check=True)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is glibc's")
def test_large_buffers_are_returned_and_were_not_before() -> None:
    assert grown_mb("given back") <= 4
    assert grown_mb("kept") >= 8
