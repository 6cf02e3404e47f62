"""A run's lock: who supervises the run, whatever is written in it."""

import fcntl
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.hosting.runs import RunFolder


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[Path]:
    """The lock of a run's folder, held."""
    path = tmp_path / "lock"
    with path.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield path


@pytest.mark.parametrize("written", [b"notapid\n", b"", b"0", b"-1", b"\xff", b"99999999999999999999", b"12 13"])
def test_a_held_lock_without_a_process_id_has_no_holder(lock: Path, written: bytes) -> None:
    lock.write_bytes(written)
    assert RunFolder(lock.parent).holder() is None


def test_a_held_lock_names_its_holder_until_it_is_released(lock: Path) -> None:
    lock.write_bytes(b"4711\n")
    assert RunFolder(lock.parent).holder() == 4711


def test_a_free_lock_has_no_holder_whatever_is_written_in_it(tmp_path: Path) -> None:
    (tmp_path / "lock").write_bytes(b"4711")
    assert RunFolder(tmp_path).holder() is None
