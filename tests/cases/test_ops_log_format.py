"""The log of an installation and the format of its records: the log of another version is refused, and none of it is lost."""

from pathlib import Path

import pytest

from headrace.errors import HeadraceError
from headrace_cli.installation.folder import BROKER_FOLDER, LOG_FORMAT, format_of, refuse_other_format, write_format
from headrace_cli.installation.local import Local


def log_of(home: Path, *topics: str) -> Path:
    """A broker's folder with the records of these topics; returns one of its files."""
    for topic in topics:
        (home / BROKER_FOLDER / "log" / f"{topic}-0").mkdir(parents=True)
    segment = home / BROKER_FOLDER / "log" / f"{topics[-1]}-0" / "00000000000000000000.log"
    segment.write_bytes(b"records")
    return segment


def test_a_log_without_records_of_ours_has_no_format(tmp_path: Path) -> None:
    assert format_of(tmp_path) is None
    log_of(tmp_path, "__cluster_metadata", "__consumer_offsets")
    assert format_of(tmp_path) is None
    refuse_other_format(tmp_path)


def test_a_log_of_this_version_is_taken_and_one_of_before_the_format_was_noted_is_not(tmp_path: Path) -> None:
    log_of(tmp_path, "ops.health.v1")
    assert format_of(tmp_path) == "1"
    (tmp_path / BROKER_FOLDER / "log-format").write_text("0\n")
    assert format_of(tmp_path) == "0"
    write_format(tmp_path)
    assert format_of(tmp_path) == LOG_FORMAT
    refuse_other_format(tmp_path)


async def test_up_refuses_another_format_in_one_sentence_and_leaves_the_log_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS", raising=False)
    segment = log_of(tmp_path, "ops.health.v1")
    local = Local(tmp_path)
    with pytest.raises(HeadraceError) as refused:
        await local.await_started(local.start(1))
    assert str(refused.value) == (
        f"the log in {tmp_path / 'kafka'} has format 1, this version of Headrace reads format {LOG_FORMAT}: `headrace up --fresh`"
        " deletes that log and begins an empty one; with another HEADRACE_HOME it is kept"
    )
    assert segment.read_bytes() == b"records"
    assert local.state() is None


async def test_a_fresh_log_is_not_made_of_a_broker_that_is_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    segment = log_of(tmp_path, "ops.health.v1")
    local = Local(tmp_path)
    with pytest.raises(
        HeadraceError, match=r"KAFKA_BOOTSTRAP_SERVERS=127\.0\.0\.1:1 names another broker: unset one of the two"
    ):
        await local.await_started(local.start(1, fresh=True))
    assert segment.exists()
