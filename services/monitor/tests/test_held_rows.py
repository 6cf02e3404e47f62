"""Rows that wait for late labels lie outside of memory, and windows close as if they were in it."""

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from services.monitor.tests.watched import DAY, DEPLOYMENT, decision

from headrace.errors import Misconfigured
from headrace.events.definition import DeploymentDefinition
from headrace.events.inference import Score
from headrace.features.outcomes import KnownOutcome
from headrace.hosting.settings import Settings
from headrace_monitor.adapters.spill import Spill, folder_of, is_in_memory
from headrace_monitor.core.held_rows import PART_BYTES, Among, HeldRows, InMemory, Keep
from headrace_monitor.core.windows import Rows, Windows

PER_DAY, DAYS = 6_000, 3


def late_labels() -> DeploymentDefinition:
    label = DEPLOYMENT.label
    assert label is not None
    return replace(DEPLOYMENT, label=replace(label, horizon_s=3 * DAY))


def outcome(n: int, known_s: float, **more: Any) -> KnownOutcome:
    return KnownOutcome(f"u{n}", float(n % 3 == 0), known_s, **more)


def filled(keep: Keep) -> Windows:
    """Days of requests with a shadow each; labels come two days later, some beyond the horizon, some corrected."""
    found = Windows(late_labels(), keep=keep)
    for n in range(PER_DAY * DAYS):
        at_s = n * DAY / PER_DAY
        asked = decision(f"u{n}", at_s, (n % 97) / 97, shadows=(Score(2, "m", (n % 89) / 89),))
        found.add_decision(asked, n % 2, n // 2)
    for n in range(PER_DAY * DAYS):
        late_s = 3.5 * DAY if n % 25 == 0 else 2 * DAY
        ident = "" if n % 7 else f"o{n}"
        found.add_outcome(outcome(n, n * DAY / PER_DAY + late_s, id=ident))
        if n % 70 == 0:
            found.add_outcome(KnownOutcome(f"u{n}", 1.0, n * DAY / PER_DAY + 2.2 * DAY, f"c{n}", None, ident))
    return found


def closed(found: Windows) -> list[tuple[float, float, Rows]]:
    rows = []
    while (closing := found.closable(100 * DAY)) is not None:
        rows.append((*closing, found.rows_of(*closing)))
        found.drop(*closing)
    return rows


def test_windows_close_with_the_same_rows_wherever_these_lie() -> None:
    spill = Spill()
    apart, whole = filled(spill.keep), filled(InMemory)
    assert apart.labels is not None
    assert whole.labels is not None
    assert (len(apart.labels), apart.rows_in(0.0)) == (len(whole.labels), PER_DAY)
    assert whole.held_bytes == PER_DAY * DAYS * 64
    assert apart.held_bytes < PART_BYTES * 2 * DAYS
    assert spill.held_bytes >= PART_BYTES * DAYS
    pairs = list(zip(closed(apart), closed(whole), strict=True))
    assert len(pairs) == DAYS
    for (*a, one), (*b, other) in pairs:
        assert a == b
        for name in ("table", "labels", "shadows", "late"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert (one.beyond, one.label_delay_s) == (other.beyond, other.label_delay_s)
    assert sum(one.beyond for (*_, one), _ in pairs) > 300
    assert spill.held_bytes <= PART_BYTES * 12


def test_windows_of_another_definition_take_over_what_lies_apart() -> None:
    spill = Spill()
    apart, whole = filled(spill.keep), filled(InMemory)
    wider = replace(late_labels(), evaluation_window_s=2 * DAY)
    taken, other = Windows(wider, keep=spill.keep), Windows(wider)
    taken.adopt(apart)
    other.adopt(whole)
    assert taken.held_bytes == sum(window.held_bytes for window in taken.open.values()) < other.held_bytes
    for (*_, one), (*_, two) in zip(closed(taken), closed(other), strict=True):
        np.testing.assert_array_equal(one.table, two.table)
        np.testing.assert_array_equal(one.shadows, two.shadows)
        np.testing.assert_array_equal(one.labels, two.labels)


def test_slots_that_are_free_are_written_again() -> None:
    spill, first = Spill(), os.urandom(PART_BYTES * 2 + 5)
    kept = spill.keep(first)
    other = spill.keep(b"other")
    assert (bytes(kept), bytes(other), len(kept), kept.held_bytes) == (first, b"other", len(first), 0)
    assert spill.held_bytes == 4 * PART_BYTES
    del kept
    assert spill.held_bytes == PART_BYTES
    again = spill.keep(first)
    assert (bytes(again) == first, bytes(other), spill.held_bytes) == (True, b"other", 4 * PART_BYTES)


def test_what_finds_no_room_stays_in_memory() -> None:
    spill = Spill(limit_bytes=PART_BYTES)
    rows = HeldRows(spill.keep)
    data = os.urandom(PART_BYTES)
    assert [rows.add(data), rows.add(data), rows.add(b"x")] == [0, PART_BYTES, 1]
    assert (len(rows), rows.held_bytes, bytes(rows)) == (2 * PART_BYTES + 1, PART_BYTES + 1, data + data + b"x")


def test_a_folder_in_memory_is_named_once_with_the_way_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/a / ext4 rw\ntmpfs {tmp_path} tmpfs rw\n/dev/b {tmp_path}/disk ext4 rw\n")
    assert [is_in_memory(place, mounts) for place in (Path("/"), tmp_path / "x", tmp_path / "disk" / "y")] == [
        False, True, False,
    ]  # fmt: skip
    assert not is_in_memory(tmp_path, tmp_path / "none")
    mounts.write_text(f"/dev/a / ext4 rw\ntmpfs {tmp_path} tmpfs rw\n/dev/b {tmp_path} ext4 rw\n")
    assert not is_in_memory(tmp_path, mounts)
    shared = Path("/dev/shm")
    if is_in_memory(shared):
        assert bytes(Spill(shared).keep(b"abc")) == b"abc"
        assert caplog.messages == [
            "Rows that wait for labels lie in memory: /dev/shm is a tmpfs; set HEADRACE_SPILL_FOLDER to a folder on a disk."
        ]


def test_the_folder_is_the_setting_else_the_home_s_else_the_temporary_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HEADRACE_HOME", raising=False)
    assert folder_of(Settings()) == Path(tempfile.gettempdir())
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path / "home"))
    assert folder_of(Settings()) == tmp_path / "home" / "spill"
    found = folder_of(Settings(spill_folder=str(tmp_path / "own")))
    assert (found, found.is_dir()) == (tmp_path / "own", True)
    assert Spill(found).keep(b"abc").held_bytes == 0
    assert list(found.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(Misconfigured, match="set HEADRACE_SPILL_FOLDER"):
        folder_of(Settings(spill_folder=str(tmp_path / "file")))
    with pytest.raises(Misconfigured, match="takes no file"):
        Spill(tmp_path / "gone")


def test_a_disk_that_is_almost_full_is_left_to_others_and_named_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Everything is kept all the same, and the file is used again as soon as there is room."""
    spill = Spill(tmp_path, left_bytes=2**62)
    rows = HeldRows(spill.keep)
    data = os.urandom(2 * PART_BYTES)
    rows.add(data)
    assert (rows.held_bytes, spill.held_bytes, bytes(rows)) == (2 * PART_BYTES, 0, data)
    assert caplog.messages == [
        f"Rows that wait for labels stay in memory: the disk of {tmp_path} has less than 4.29e+09 GiB free (HEADRACE_SPILL_FOLDER)."
    ]
    spill._left_bytes = 0
    rows.add(data)
    assert (rows.held_bytes, spill.held_bytes, bytes(rows)) == (2 * PART_BYTES, 2 * PART_BYTES, data + data)


def test_what_cannot_be_written_stays_in_memory(caplog: pytest.LogCaptureFixture) -> None:
    full = Spill(left_bytes=0)
    device = os.open("/dev/full", os.O_RDWR)
    os.dup2(device, full._file)
    os.close(device)
    kept = full.keep(b"abc")
    assert (bytes(kept), kept.held_bytes, full.held_bytes) == (b"abc", 3, 0)
    assert "stay in memory" in caplog.text


def test_keys_are_found_among_some_however_alike_they_are() -> None:
    rng = np.random.default_rng(1)
    keys = rng.integers(0, 2**63, 5_000, dtype=np.uint64)
    others = np.concatenate(
        [keys[:100], rng.integers(0, 2**63, 5_000, dtype=np.uint64), np.arange(50, dtype=np.uint64)]
    )
    assert Among(keys).places(others).tolist() == np.flatnonzero(np.isin(others, keys)).tolist()
    assert Among(keys[:0]).places(others).tolist() == []
