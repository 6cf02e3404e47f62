"""The A/A arm: how often the tests that judge rollouts see a difference between a champion and itself."""

import msgspec


class AuditKept(msgspec.Struct, frozen=True):
    """The trials of a deployment's A/A arm, as far as they have come.

    `trials`, `failed`, `rolled_back`: see `AuditReported`. `number`: of the trial that runs, which draws its arm. `cycles`:
    the start of each cycle of it, its pairs and the sum of their differences. `wealth`, `total`: of the gross test.
    `control`, `constant`: sums of the rest's scores and of those of the best constant. `is_gross`: the gross test has failed.
    """

    share: float
    since_s: float
    trials: int = 0
    failed: int = 0
    rolled_back: int = 0
    number: int = 1
    cycles: tuple[tuple[float, int, float], ...] = ()
    wealth: tuple[float, ...] = ()
    total: float = 0.0
    control: float = 0.0
    constant: float = 0.0
    is_gross: bool = False


class AuditReported(msgspec.Struct, frozen=True):
    """How the trials of an A/A arm have ended: the champion on a share of its units beside the champion on all others.

    `share`: of the units. A trial lasts as many cycles as a rollout's level test needs. `failed`: trials that showed a
    difference where there is none; `rate`: their share, with 95 % bounds `low`, `high` (Clopper and Pearson); `alpha`: the
    share that is stated. `rolled_back`: trials that would have rolled the arm back, likewise with `rollback_rate`,
    `rollback_low`, `rollback_high` and `rollback_alpha`. All count since `since_s`.
    """

    deployment: str
    share: float
    since_s: float
    at_s: float
    trials: int
    failed: int
    rate: float
    low: float
    high: float
    alpha: float
    rolled_back: int
    rollback_rate: float
    rollback_low: float
    rollback_high: float
    rollback_alpha: float
