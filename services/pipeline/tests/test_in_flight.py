"""A message that ends the process is known to the next one; what was merely in flight beside it is not blamed."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.errors import Misconfigured
from headrace.log.port import Record
from headrace_pipeline.adapters.in_flight import InFlight
from headrace_pipeline.core.suspects import ALONE_S

# A process whose pipelines are at the messages given, and which then ends: by itself (`dies`), or because it was asked to (`asked`).
PROGRAM = """
import os, sys
from pathlib import Path
from headrace.log.port import Record
from headrace_pipeline.adapters.in_flight import InFlight

in_flight = InFlight(Path(sys.argv[1]))
for at in sys.argv[3:]:
    pipeline, offset = at.split("/")
    in_flight.slot(pipeline, "raw.a.v1").take(Record("raw.a.v1", 1, int(offset), b"k", b"v", (), 1000))
if sys.argv[2] == "asked":
    in_flight.end()
if sys.argv[2] == "leaves" and not os.fork():
    os.read(0, 1)  # until its parent's parent lets it go
    os._exit(0)
os._exit(3)
"""


def record(offset: int, time_ms: int = 1000) -> Record:
    return Record("raw.a.v1", 1, offset, b"k", b"v", (), time_ms)


def process(folder: Path, how: str, *at: str) -> None:
    ended = subprocess.run([sys.executable, "-c", PROGRAM, str(folder), how, *at], timeout=60, check=False)
    assert ended.returncode == 3


def test_a_message_on_which_the_process_ended_twice_is_given_to_its_transform_no_more(tmp_path: Path) -> None:
    process(tmp_path, "dies", "land/7")
    process(tmp_path, "dies", "land/7")
    found = InFlight(tmp_path)
    assert "ended its process on it" in str(found.why_not("land", record(7)))
    others = [("land", record(8)), ("other", record(7)), ("land", record(7, time_ms=2000))]
    assert [found.why_not(*other) for other in others] == [None, None, None]


def test_a_child_that_a_transform_left_behind_does_not_keep_the_notes_from_the_next_process(tmp_path: Path) -> None:
    process(tmp_path, "dies", "land/7")
    with subprocess.Popen([sys.executable, "-c", PROGRAM, tmp_path, "leaves", "land/7"], stdin=subprocess.PIPE) as left:
        assert left.wait(60) == 3
        assert InFlight(tmp_path).why_not("land", record(7)) is not None


def test_once_or_in_an_end_that_was_asked_for_says_nothing(tmp_path: Path) -> None:
    process(tmp_path, "dies", "land/7")
    process(tmp_path, "asked", "land/7")
    assert InFlight(tmp_path).why_not("land", record(7)) is None


def test_a_suspect_that_is_handled_after_all_is_none_any_more(tmp_path: Path) -> None:
    process(tmp_path, "dies", "land/7")
    first = InFlight(tmp_path)
    first.survived("land", record(7))
    first.end()
    del first
    process(tmp_path, "dies", "land/7")
    assert InFlight(tmp_path).why_not("land", record(7)) is None


async def test_a_suspect_that_was_not_in_flight_at_the_next_death_is_none_any_more(tmp_path: Path) -> None:
    process(tmp_path, "dies", "land/7", "other/9")
    process(tmp_path, "dies", "land/7")
    found = InFlight(tmp_path)
    async with found.turn():
        await asyncio.wait_for(entered(found), 5)
    found.end()
    process(tmp_path, "dies", "other/9")
    again = InFlight(tmp_path)
    assert again.why_not("other", record(9)) is None
    assert again.why_not("land", record(7)) is not None


async def entered(in_flight: InFlight) -> None:
    async with in_flight.turn():
        pass


async def test_while_there_are_suspects_one_transform_runs_at_a_time(tmp_path: Path) -> None:
    process(tmp_path, "dies", "land/7", "other/9")
    now_s = [0.0]
    in_flight, running, most = InFlight(tmp_path, lambda: now_s[0]), 0, 0

    async def runs() -> None:
        nonlocal running, most
        async with in_flight.turn():
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1

    async def most_at_once() -> int:
        nonlocal most
        most = 0
        await asyncio.gather(*(runs() for _ in range(3)))
        return most

    assert await most_at_once() == 1
    in_flight.survived("land", record(7))
    assert await most_at_once() == 1
    now_s[0] = ALONE_S + 1
    assert await most_at_once() == 3
    now_s[0] = 0.0
    in_flight.survived("other", record(9))
    assert await most_at_once() == 3


def test_two_processes_have_notes_of_their_own(tmp_path: Path) -> None:
    living = InFlight(tmp_path)
    process(tmp_path, "dies", "land/7")
    process(tmp_path, "dies", "land/7")
    assert living.why_not("land", record(7)) is None
    assert InFlight(tmp_path).why_not("land", record(7)) is not None


def test_without_a_place_to_note_it_all_else_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    in_flight = InFlight(tmp_path / "file" / "folder")
    in_flight.slot("land", "raw.a.v1").take(record(7))
    assert in_flight.why_not("land", record(7)) is None
    assert "will not be known" in caplog.text


def test_notes_that_are_damaged_are_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "suspects-0.json").write_text('[["land", "raw.a')
    (tmp_path / "in-flight-0").write_bytes(b"\xff" * 5000)
    assert InFlight(tmp_path).why_not("land", record(7)) is None


IMPORTING = """
import os, sys
from pathlib import Path
from headrace_pipeline.adapters.in_flight import InFlight

in_flight = InFlight(Path(sys.argv[1]))
with in_flight.importing("calm", "d0"):
    pass
with in_flight.importing("wild", sys.argv[2]):
    if sys.argv[3] == "asked":
        in_flight.end()
    if sys.argv[3] == "raises":
        raise ImportError
    os._exit(3)
"""


def imports(folder: Path, digest: str, how: str) -> int:
    command = [sys.executable, "-c", IMPORTING, str(folder), digest, how]
    return subprocess.run(command, timeout=60, check=False, capture_output=True).returncode


def test_a_project_whose_import_ends_the_process_twice_is_left_out_until_another_one_is_applied(tmp_path: Path) -> None:
    assert [imports(tmp_path, "d1", "dies") for _ in range(2)] == [3, 3]
    in_flight = InFlight(tmp_path)
    with pytest.raises(Misconfigured, match="its import ended the process 2 times"), in_flight.importing("wild", "d1"):
        pass
    for project, digest in (("wild", "d2"), ("calm", "d0")):
        with in_flight.importing(project, digest):
            pass
    in_flight.end()
    with InFlight(tmp_path).importing("wild", "d1"):  # its code may be another one by now
        pass


@pytest.mark.parametrize(("how", "code"), [("asked", 3), ("raises", 1)])
def test_an_import_that_raises_or_during_which_the_process_was_asked_to_end_is_not_blamed(
    tmp_path: Path, how: str, code: int
) -> None:
    assert [imports(tmp_path, "d1", how) for _ in range(2)] == [code, code]
    with InFlight(tmp_path).importing("wild", "d1"):
        pass
