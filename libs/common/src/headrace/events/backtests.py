"""What a back-test found, for the console: a back-test is made by the command line, on the machine of a person."""

import msgspec


class BacktestPolicy(msgspec.Struct, frozen=True):
    """What one policy of a back-test was worth.

    `alarms`: findings, `pages` of them called somebody; `false_alarms`: while no planted fault was there; `allowed`: by its
    budget in this stretch, None where it states none. `asked`: retrains that were asked for; `retrains_s`: since when
    each of those that answered did. `gain`: how much lower the loss is per request than without any retrain, with
    bounds of 90 % (`low`, `high`; None where there were too few rows). `among_phases`, `among_random`: the percentile
    of the gain among calendars of equal count, at all phases and at random; `by_timing`: the same of its instants alone.
    `curve`: what it had gained by each instant of `BacktestReported.curve_at_s`.
    """

    name: str
    alarms: int
    pages: int
    false_alarms: int
    allowed: float | None
    asked: int
    retrains_s: tuple[float, ...]
    gain: float
    low: float | None
    high: float | None
    among_phases: float
    among_random: float
    by_timing: float
    curve: tuple[float, ...]


class BacktestReported(msgspec.Struct, frozen=True):
    """The newest published back-test of a deployment, of event time [from, to).

    `requests`, `labelled`: how many the stretch holds; `loss`: the name of the loss that gains are in; `never`: the loss
    per request without any retrain; `always`: what a retrain at each of `always_retrains` instants would have gained.
    `faults`: those that were planted. `curve_at_s`: the instants of all curves, at most 200.
    """

    deployment: str
    from_s: float
    to_s: float
    requests: int
    labelled: int
    loss: str
    never: float
    always: float
    always_retrains: int
    policies: tuple[BacktestPolicy, ...]
    curve_at_s: tuple[float, ...]
    faults: tuple[str, ...] = ()
