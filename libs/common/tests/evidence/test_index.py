"""The index of decisions: what can be found, within which limits, and how it survives its own loss."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from headrace.errors import Retryable
from headrace.events.inference import Score, ShadowScored
from headrace.evidence.index import DecisionIndex, index_path
from headrace.evidence.index_file import LEAST_BYTES, MANY, RUN, IndexFile, ReadTopic
from headrace.evidence.places import Entries, Place, hash_of, packed, unpacked
from headrace.log.memory import MemoryLog
from headrace.log.port import Out, TopicPartition
from headrace.testing.decisions import TOPICS, decision, decision_out, outcome_out, sent, with_topics

DECISIONS = "inference.decisions"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return index_path(tmp_path, "")


def damaged(path: Path, content: bytes) -> None:
    path.write_bytes(content)


async def caught_up(path: Path, log: MemoryLog, most_bytes: int = LEAST_BYTES) -> DecisionIndex:
    index = DecisionIndex.open(path, most_bytes)
    await index.catch_up(log, TOPICS)
    return index


async def test_a_decision_is_found_by_its_request_and_by_its_unit(memory_log: MemoryLog, path: Path) -> None:
    await with_topics(memory_log)
    await sent(memory_log, [decision_out(decision("r1", "u"), 1), decision_out(decision("r2", "u"), 1)])
    index = await caught_up(path, memory_log)
    assert await index.find("request", "r2") == [Place(DECISIONS, 1, 1)]
    assert await index.find("unit", "u") == [Place(DECISIONS, 1, 0), Place(DECISIONS, 1, 1)]
    assert await index.find("request", "u") == []


async def test_late_scores_are_found_by_their_request_only(memory_log: MemoryLog, path: Path) -> None:
    await with_topics(memory_log)
    late = ShadowScored("r1", "d", "u", 3, 1_000.0, Score(3, "m", 0.4))
    await sent(memory_log, [decision_out(decision("r1", "u")), decision_out(late)])
    index = await caught_up(path, memory_log)
    assert await index.find("request", "r1") == [Place(DECISIONS, 0, 0), Place(DECISIONS, 0, 1)]
    assert await index.find("unit", "u") == [Place(DECISIONS, 0, 0)]


@pytest.mark.parametrize("value", [b'{"deployment": "d", "unit": 5, "label": 1}', None])
async def test_an_outcome_is_found_by_its_unit_however_it_was_written(
    memory_log: MemoryLog, path: Path, value: bytes | None
) -> None:
    await with_topics(memory_log)
    written = outcome_out("5", 1.0, 60.0)
    await sent(memory_log, [written if value is None else Out(written.topic, b"other", value, partition=0)])
    index = await caught_up(path, memory_log)
    assert await index.find("outcome", "5") == [Place("inference.outcomes", 0, 0)]


async def test_what_comes_later_is_found_after_the_next_catching_up(memory_log: MemoryLog, path: Path) -> None:
    await with_topics(memory_log)
    index = await caught_up(path, memory_log)
    await sent(memory_log, [decision_out(decision("r1", "u"))])
    assert await index.find("request", "r1") == []
    await index.catch_up(memory_log, TOPICS)
    assert await index.find("request", "r1") == [Place(DECISIONS, 0, 0)]


async def test_an_index_that_follows_finds_what_comes_and_a_second_process_reads_it(
    memory_log: MemoryLog, path: Path
) -> None:
    await with_topics(memory_log)
    first, second = DecisionIndex.open(path, LEAST_BYTES), DecisionIndex.open(path, LEAST_BYTES)
    stop = asyncio.Event()
    following = asyncio.create_task(first.follow(memory_log, TOPICS, stop))
    await asyncio.sleep(0)
    await sent(memory_log, [decision_out(decision(f"r{n}", "u")) for n in range(100)])
    while not await first.find("request", "r99"):
        await asyncio.sleep(0.01)
    await second.catch_up(memory_log, TOPICS)
    assert await second.find("request", "r7") == [Place(DECISIONS, 0, 7)]
    stop.set()
    await following


async def test_a_topic_that_was_created_again_makes_the_index_anew(memory_log: MemoryLog, path: Path) -> None:
    await with_topics(memory_log)
    await sent(memory_log, [decision_out(decision("r1", "u"))])
    (await caught_up(path, memory_log)).close()
    memory_log.delete_topic(TOPICS.name(DECISIONS))
    await with_topics(memory_log)
    await sent(memory_log, [decision_out(decision("r2", "u"))])
    index = await caught_up(path, memory_log)
    assert await index.find("unit", "u") == [Place(DECISIONS, 0, 0)]
    assert await index.find("request", "r1") == []


@pytest.mark.parametrize("damage", [b"no database at all", b"SQLite format 3\x00" + b"\xff" * 5000])
async def test_a_damaged_file_is_made_anew(memory_log: MemoryLog, path: Path, damage: bytes) -> None:
    await with_topics(memory_log)
    await sent(memory_log, [decision_out(decision("r1", "u"))])
    (await caught_up(path, memory_log)).close()
    damaged(path, damage)
    index = await caught_up(path, memory_log)
    assert await index.find("request", "r1") == [Place(DECISIONS, 0, 0)]


async def test_a_damaged_file_is_left_to_the_process_that_writes(memory_log: MemoryLog, path: Path) -> None:
    await with_topics(memory_log)
    await sent(memory_log, [decision_out(decision("r1", "u"))])
    writer, index = IndexFile(path, LEAST_BYTES), DecisionIndex.open(path, LEAST_BYTES)
    assert writer.lock()
    damaged(path, b"no database at all")
    with pytest.raises(Retryable, match="another process makes it anew"):
        await index.find("request", "r1")
    writer.close()
    await index.catch_up(memory_log, TOPICS)
    assert await index.find("request", "r1") == [Place(DECISIONS, 0, 0)]


def folder(path: Path) -> None:
    path.mkdir(parents=True)


def rotten(path: Path) -> None:
    """The file with a hole in it: its first page, and with that its tables, can be read."""
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(4096)
        file.write(b"\xa5" * (size - 4096))


async def test_a_damage_that_a_search_meets_is_mended_and_the_search_answers(memory_log: MemoryLog, path: Path) -> None:
    await with_topics(memory_log)
    await sent(memory_log, [decision_out(decision(f"r{n}", "u")) for n in range(300)])
    index = await caught_up(path, memory_log)
    index.close()
    rotten(path)
    assert await index.find("request", "r7") == [Place(DECISIONS, 0, 7)]
    assert await index.find("request", "r299") == [Place(DECISIONS, 0, 299)]


async def test_a_damage_that_a_reader_meets_is_mended_by_the_process_that_follows(
    memory_log: MemoryLog, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.evidence.index._LOOK_EVERY_S", 0.05)
    await with_topics(memory_log)
    await sent(memory_log, [decision_out(decision(f"r{n}", "u")) for n in range(300)])
    writer, reader, stop = DecisionIndex.open(path, LEAST_BYTES), DecisionIndex.open(path, LEAST_BYTES), asyncio.Event()
    following = asyncio.create_task(writer.follow(memory_log, TOPICS, stop))
    while not await writer.find("request", "r299"):
        await asyncio.sleep(0.01)
    await reader.catch_up(memory_log, TOPICS)
    reader.close()
    damaged(path, b"no database at all")
    assert await reader.find("request", "r7") == [Place(DECISIONS, 0, 7)]
    await sent(memory_log, [decision_out(decision("later", "u"))])
    await reader.catch_up(memory_log, TOPICS)
    assert await reader.find("request", "r7") == [Place(DECISIONS, 0, 7)]
    assert await reader.find("request", "later") == [Place(DECISIONS, 0, 300)]
    stop.set()
    await following
    writer.close()


async def test_a_folder_in_its_place_is_one_sentence_with_the_way_out(memory_log: MemoryLog, path: Path) -> None:
    await with_topics(memory_log)
    folder(path)
    with pytest.raises(Retryable, match="is a folder, and the index of decisions must be a file: remove the folder"):
        await DecisionIndex.open(path, LEAST_BYTES).catch_up(memory_log, TOPICS)


def entries(first: int, count: int) -> Entries:
    hashes = np.array([hash_of("request", f"r{n}".encode()) for n in range(first, first + count)], np.uint64)
    return Entries(hashes, np.array([packed(Place(DECISIONS, 0, n)) for n in range(first, first + count)]))


def write(file: IndexFile, first: int, count: int) -> None:
    topic = TOPICS.name(DECISIONS)
    tp = TopicPartition(topic, 0)
    file.write({MANY: entries(first, count)}, {tp: 0}, {tp: first + count}, {topic: ReadTopic("id", MANY)})


def found(file: IndexFile, number: int) -> list[int]:
    return [unpacked(place).offset for place in file.find(hash_of("request", f"r{number}".encode()), 9)]


def test_entries_are_found_in_runs_and_in_what_is_not_sealed_yet(path: Path) -> None:
    file = IndexFile(path, LEAST_BYTES)
    write(file, 0, RUN)
    write(file, RUN, 10)
    write(file, RUN + 10, 10)
    assert [found(file, n) for n in (0, 1, RUN - 1, RUN, RUN + 19, RUN + 20)] == [
        [0],
        [1],
        [RUN - 1],
        [RUN],
        [RUN + 19],
        [],
    ]


def test_of_many_places_of_one_hash_the_newest_or_the_first_from_a_place_on_are_found(path: Path) -> None:
    file, topic, wanted = IndexFile(path, LEAST_BYTES), TOPICS.name(DECISIONS), hash_of("unit", b"u")
    for first in range(0, 3 * RUN, RUN // 2):
        places = np.array([packed(Place(DECISIONS, 0, n)) for n in range(first, first + RUN // 2)])
        mine = Entries(np.full(len(places), wanted, np.uint64), places)
        file.write({MANY: mine}, {}, {TopicPartition(topic, 0): first + RUN // 2}, {topic: ReadTopic("id", MANY)})
    newest = [unpacked(place).offset for place in file.find(wanted, 5)]
    assert newest == list(range(3 * RUN - 5, 3 * RUN))
    within = packed(Place(DECISIONS, 0, RUN + 7)), packed(Place(DECISIONS, 0, 2 * RUN))
    assert [unpacked(place).offset for place in file.find(wanted, 3, within, newest=False)] == [
        RUN + 7,
        RUN + 8,
        RUN + 9,
    ]


def test_at_the_limit_the_oldest_run_goes_and_the_first_offset_says_so(path: Path) -> None:
    file = IndexFile(path, LEAST_BYTES)
    for n in range(10):
        write(file, n * RUN, RUN)
    assert file.bytes_used() <= LEAST_BYTES
    first, nexts = file.positions()
    tp = TopicPartition(TOPICS.name(DECISIONS), 0)
    assert 0 < first[tp] < nexts[tp] == 10 * RUN
    assert found(file, first[tp] - 1) == []
    assert found(file, first[tp]) == [first[tp]]
    assert found(file, 10 * RUN - 1) == [10 * RUN - 1]


def test_after_a_kill_the_position_and_the_entries_agree(path: Path) -> None:
    """A process writes batches for ever and is killed; whatever was committed is whole."""
    program = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from test_index import write
from headrace.evidence.index_file import IndexFile, LEAST_BYTES
file = IndexFile(Path(sys.argv[1]), LEAST_BYTES)
for n in range(10**9):
    write(file, n * 500, 500)
    print(n, flush=True)
"""
    process = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while (line := process.stdout.readline()) and int(line) < 40:
        pass
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    file = IndexFile(path, LEAST_BYTES)
    _, nexts = file.positions()
    end = nexts[TopicPartition(TOPICS.name(DECISIONS), 0)]
    assert end >= 40 * 500
    assert end % 500 == 0
    assert [found(file, n) for n in (0, end - 500, end - 1)] == [[0], [end - 500], [end - 1]]
    assert found(file, end) == []
