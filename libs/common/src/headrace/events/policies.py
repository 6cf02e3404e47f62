"""What watches a deployment, and when it is retrained, as a project declares them."""

import msgspec


class DriftDefinition(msgspec.Struct, frozen=True):
    """A drift detector on a figure of closed evaluation windows.

    `detector`: `page_hinkley`, `loss_change` or `adwin`. `figure`: for instance `log_loss`. `evaluation_window_s`: the
    width of a window. For `loss_change`, `delta` is the least rise as a share of the loss, and `min_windows` is how many
    windows come before the first comparison. For `adwin`, `delta` is its confidence, and `threshold` is not used.
    """

    detector: str
    figure: str
    evaluation_window_s: float
    delta: float
    threshold: float
    min_windows: int


class RetrainingDefinition(msgspec.Struct, frozen=True):
    """When to retrain. `on`: the kinds of findings that request a retrain.

    `cooldown_s`: event time from a run that made a version to the next run. `unhelpful`: after so many runs in a row
    that did not bring the figure back, a finding requests no more. `every_s`: event time from the newest version to the
    next request, None for never. `cron`: requests at the instants of this expression in UTC, "" for none. `after_rows`:
    labelled rows from the newest version to the next request, None for never.
    """

    on: tuple[str, ...]
    cooldown_s: float
    unhelpful: int = 3
    every_s: float | None = None
    cron: str = ""
    after_rows: int | None = None
