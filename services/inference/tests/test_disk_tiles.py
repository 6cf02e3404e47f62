"""Tiles on disk answer as tiles in memory do, whatever is put, replaced, deleted and looked at in between."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.events.features import Tile
from headrace.features.store import MemoryTiles
from headrace_inference.adapters import disk_tiles
from headrace_inference.adapters.disk_tiles import DiskTiles

KEYS = st.tuples(st.sampled_from(["v@1", "w@2"]), st.sampled_from(["AA", "UA", "JFK|AA", "a/b"]))
STEPS = st.one_of(st.tuples(st.just("put"), KEYS, st.integers(0, 2)), st.tuples(st.just("drop"), KEYS, st.integers(0, 2)),
                  st.tuples(st.just("get"), KEYS, st.just(0)))  # fmt: skip


@given(st.lists(STEPS, max_size=60))
def test_disk_and_memory_agree(steps: list) -> None:
    disk, memory = DiskTiles(), MemoryTiles()
    for number, (what, key, partition) in enumerate(steps):
        if what == "get":
            assert dict(disk.get(key)) == dict(memory.get(key))
        elif what == "put" or partition in memory.get(key):
            tile = Tile(*key, partition, ()) if what == "put" and number % 2 else None
            tile = tile if tile or what == "drop" else Tile(f"{key[0]}!", key[1], partition, ())
            disk.put(key, partition, tile)
            memory.put(key, partition, tile)
    for view in ("v@1", "w@2"):
        assert disk.count(view) == memory.count(view)
    disk.close()


def test_only_what_was_looked_at_lately_stays_in_memory(monkeypatch) -> None:
    monkeypatch.setattr(disk_tiles, "_MOST_CACHED", 10)
    monkeypatch.setattr(disk_tiles, "_MOST_WAITING", 100)
    disk = DiskTiles()
    for number in range(1000):
        disk.put(("v@1", f"e{number}"), 0, Tile("v@1", f"e{number}", 0, ()))
    assert all(disk.get(("v@1", f"e{number}"))[0].entity == f"e{number}" for number in range(1000))
    assert len(disk._cached) == 10
    assert len(disk._waiting) < 100
    assert disk.count("v@1") == 1000
    disk.close()
