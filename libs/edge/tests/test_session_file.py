"""The secret of sessions and those that were ended outlive a process; a file that others can read is not believed."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from headrace_edge.rules.callers import Caller, digest_of
from headrace_edge.rules.roles import Role
from headrace_edge.rules.sessions import signing_secret
from headrace_edge.session_file import MOST_ENDED, Sessions

ANNA = Caller("anna", digest_of("a"), role=Role.OPERATOR)
BOB = Caller("bob", digest_of("b"), role=Role.VIEWER)


def test_a_restart_finds_the_secret_and_the_ended_sessions(tmp_path: Path) -> None:
    path = tmp_path / "console" / "sessions.json"
    first = Sessions(path)
    first.end("i1", 50.0, 1.0)
    first.save()
    again = Sessions(path)
    assert (again.secret, again.ended) == (first.secret, {"i1": 50.0})
    assert path.stat().st_mode & 0o777 == 0o600
    assert [found.name for found in path.parent.iterdir()] == ["sessions.json"]


def test_two_processes_share_what_each_has_ended(tmp_path: Path) -> None:
    first, second = Sessions(tmp_path / "sessions.json"), Sessions(tmp_path / "sessions.json")
    assert first.secret == second.secret
    first.end("i1", 50.0, 1.0)
    first.save()
    second.end("i2", 60.0, 2.0)
    second.save()
    assert [("i1" in found, "i2" in found, "i3" in found) for found in (first, second)] == [(True, True, False)] * 2
    assert Sessions(tmp_path / "sessions.json").ended == {"i1": 50.0, "i2": 60.0}
    first.end("i4", 90.0, 55.0)
    first.save()
    assert Sessions(tmp_path / "sessions.json").ended == {"i2": 60.0, "i4": 90.0}


def test_two_installations_have_two_secrets(tmp_path: Path) -> None:
    assert len({Sessions(tmp_path / "a").secret, Sessions(tmp_path / "b").secret, Sessions().secret}) == 3


@pytest.mark.parametrize("content", [b"", b"{", b'{"secret":"YQ=="}', b"\xff"])
def test_a_damaged_file_is_replaced(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "sessions.json"
    path.write_bytes(content)
    path.chmod(0o600)
    assert Sessions(path).secret == Sessions(path).secret


def test_a_file_that_others_can_read_or_that_is_a_link_is_replaced(tmp_path: Path) -> None:
    path, link = tmp_path / "sessions.json", tmp_path / "link.json"
    known = Sessions(path).secret
    path.chmod(0o640)
    changed = Sessions(path).secret
    assert changed != known
    assert path.stat().st_mode & 0o777 == 0o600
    link.symlink_to(path)
    assert Sessions(link).secret != changed


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_where_nothing_can_be_written_the_process_goes_on(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert len(Sessions(tmp_path / "x" / "sessions.json").secret) == 32
    tmp_path.chmod(0o700)


def test_without_a_folder_the_process_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = Sessions(tmp_path / "file" / "sessions.json")
    found.end("i1", 5.0, 1.0)
    found.save()
    assert (len(found.secret), found.ended) == (32, {"i1": 5.0})


def test_ended_sessions_are_forgotten_when_they_would_be_over_and_are_bounded() -> None:
    found = Sessions()
    found.end("old", 5.0, 1.0)
    found.end("new", 50.0, 6.0)
    assert found.ended == {"new": 50.0}
    found.ended |= {f"i{number}": 100.0 + number for number in range(MOST_ENDED - 1)}
    found.end("newest", 10**9, 6.0)
    assert (len(found.ended), "new" in found.ended, "newest" in found.ended) == (MOST_ENDED, False, True)


def test_any_change_of_the_keys_changes_what_signs_and_their_order_does_not() -> None:
    signs = signing_secret(b"kept", (ANNA, BOB))
    assert signs == signing_secret(b"kept", (BOB, ANNA))
    others = [
        signing_secret(b"other", (ANNA, BOB)), signing_secret(b"kept", (ANNA,)),
        signing_secret(b"kept", (ANNA, replace(BOB, role=Role.APPROVER))),
        signing_secret(b"kept", (ANNA, replace(BOB, digest=digest_of("c")))),
        signing_secret(b"kept", (ANNA, replace(BOB, deployments=("d",)))),
    ]  # fmt: skip
    assert len({signs, *others}) == 6
