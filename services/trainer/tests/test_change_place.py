"""Where a change came in the data, where hardly anything is known of it."""

import numpy as np
import pytest

from headrace_trainer.core.change_point import LEAST_LOSSES, locate

DAY = 86_400.0


@pytest.mark.parametrize("known", [0, LEAST_LOSSES - 1])
def test_with_too_few_losses_it_came_where_it_was_found(known: int) -> None:
    at_s = np.arange(4 * LEAST_LOSSES) * DAY / LEAST_LOSSES
    losses = np.full(len(at_s), np.nan)
    losses[len(at_s) - known :] = np.arange(known)
    found = locate(2 * DAY, DAY, at_s, losses)
    assert (found.begun_s, found.complete_s) == (2 * DAY, 2 * DAY)


def test_where_nothing_has_risen_it_came_where_it_was_found() -> None:
    at_s = np.arange(4 * LEAST_LOSSES) * DAY / LEAST_LOSSES
    found = locate(2 * DAY, DAY, at_s, np.linspace(1.0, 0.0, len(at_s)))
    assert (found.begun_s, found.complete_s) == (2 * DAY, 2 * DAY)


def test_a_step_is_found_at_its_first_row() -> None:
    at_s = np.arange(4 * LEAST_LOSSES) * DAY / LEAST_LOSSES
    stepped_s = at_s[2 * LEAST_LOSSES + 7]
    found = locate(2 * DAY, DAY, at_s, np.where(at_s >= stepped_s, 3.0, 0.1))
    assert (found.begun_s, found.complete_s) == (stepped_s, stepped_s)
