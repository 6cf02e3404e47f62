"""When the monitor looks at windows and at services."""

from headrace_monitor.core.cadence import LOOK_EVERY, LOOK_IDLE_S, SERVICES_EVERY_S, Cadence


def test_amid_a_backlog_windows_are_looked_at_after_so_many_records() -> None:
    cadence = Cadence()
    cadence.note_records(LOOK_EVERY - 1)
    assert not cadence.is_time_for_windows(0.0, is_idle=False)
    cadence.note_records(1)
    assert cadence.is_time_for_windows(0.0, is_idle=False)
    assert not cadence.is_time_for_windows(100.0, is_idle=False)


def test_without_a_backlog_windows_are_looked_at_at_most_so_often() -> None:
    cadence = Cadence()
    assert cadence.is_time_for_windows(10.0, is_idle=True)
    assert not cadence.is_time_for_windows(10.0 + LOOK_IDLE_S - 0.01, is_idle=True)
    assert cadence.is_time_for_windows(10.0 + LOOK_IDLE_S, is_idle=True)


def test_a_look_amid_a_backlog_does_not_put_off_the_one_when_it_is_read() -> None:
    cadence = Cadence()
    cadence.note_records(LOOK_EVERY)
    assert cadence.is_time_for_windows(10.0, is_idle=False)
    assert cadence.is_time_for_windows(10.1, is_idle=True)


def test_services_are_looked_at_once_a_second() -> None:
    cadence = Cadence()
    assert [cadence.is_time_for_services(now_s) for now_s in (0.0, SERVICES_EVERY_S / 2, SERVICES_EVERY_S)] == [
        True,
        False,
        True,
    ]
