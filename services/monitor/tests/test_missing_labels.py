"""Windows that lack labels: which are judged, and that it is a finding when none is."""

import numpy as np
import pytest
from services.monitor.tests.watched import DAY, DEPLOYMENT, PROJECT, Watched, days, watch, windows

from headrace.events.monitor import FindingOpened, FindingResolved
from headrace_monitor.core.evaluation import WindowInputs, evaluate
from headrace_monitor.core.finding_alarms import alarm_of
from headrace_monitor.core.windows import Late


@pytest.mark.parametrize(
    ("labelled", "verdict", "unmeasured"),
    [
        (100, "PASS", ""),
        (90, "PASS", ""),
        (50, "PASS", ""),
        (49, "UNMEASURED", "49 of 100 requests have a label, 50% are needed"),
    ],
)
def test_a_window_that_has_closed_is_judged_where_half_of_its_labels_came(
    labelled: int, verdict: str, unmeasured: str
) -> None:
    found = windows()
    rows = found.rows_of(0.0, 3 * DAY)
    rows.labels[:] = np.where(np.arange(100) < labelled, 1.0, np.nan)
    closed = evaluate(WindowInputs(PROJECT, DEPLOYMENT, rows, (), {}, {}, DAY), 0.0, Late(), None)
    assert (closed.labelled, closed.verdict, closed.unmeasured) == (labelled, verdict, unmeasured)


def test_three_windows_in_a_row_without_labels_are_a_finding_until_they_come_again() -> None:
    found = watch()
    lacking = {"verdict": "UNMEASURED", "labelled": 12, "unmeasured": "12 of 100 requests have a label, 50% are needed"}
    assert days(found, {0: 0.5, 1: 0.5}, **lacking) == []
    again = Watched(DEPLOYMENT, found.memory())
    (opened,) = days(again, {2: 0.5, 3: 0.5}, **lacking)
    assert isinstance(opened, FindingOpened)
    assert (opened.kind, opened.measured) == ("labels", 0.12)
    assert "3 windows in a row have too few labels to be judged (12 of 100 requests have a label" in opened.summary
    alarm = alarm_of(opened)
    assert (alarm.name, alarm.command) == ("LabelsMissing", "headrace outcome list d")
    (resolved,) = days(again, {4: 0.5})
    assert isinstance(resolved, FindingResolved)
    assert alarm_of(resolved).fingerprint == alarm.fingerprint
