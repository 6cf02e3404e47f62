"""What watches a deployment: charts under a budget of pages, and single detectors on one figure each."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Charts:
    """Charts of what moved in closed windows: base rate, ranking, calibration, slope and level, each by an e-detector.

    A window is compared with windows out of time: those of the version's own training history, or the first closed ones
    where it brings none. The first chart that crosses its limit opens the finding and names the kind of change. The base
    rate moves with every hard week, so its findings call nobody.

    - `pages`: how many false pages all charts together may raise, such as `"1 per month"` or `"2 per year"`.
    - `segments`: inputs or derived columns whose most frequent values (at most 20 of each, and in all about 60 with 14
      `windows`, fewer with more) have charts of their own. They share half of the budget.
    - `season`: a window shorter than it is compared with reference windows of the same phase, `"7d"` for the same hour
      of the week.
    - `windows`: how many of the first closed windows are the reference of a version that brings none.
    """

    pages: str = "1 per month"
    segments: Sequence[str] = ()
    season: str | float | None = None
    windows: int = 14


@dataclass(frozen=True)
class PageHinkley:
    """Page's cumulative test for a change of a figure of closed evaluation windows for the worse (Page 1954; Hinkley
    1971).

    It starts again with each champion. It does not know how many rows a window has: with few of them it alarms falsely.

    - `figure`: None for the loss of the label's kind, or another figure such as `auc`, `brier`, `ranking`, `calibration`
      or `base_rate` (the last two alarm in both directions).
    - `threshold`: the limit of a sum over windows of what exceeds the mean by more than `delta`.
    """

    figure: str | None = None
    delta: float = 0.02
    threshold: float = 0.8
    min_windows: int = 7


@dataclass(frozen=True)
class Adwin:
    """ADWIN (Bifet and Gavalda 2007, by river) on a figure of closed evaluation windows: two parts of them have unlike
    means.

    It takes windows as independent, as many rows as each may have, and its bound holds for figures within 0..1. Storms
    that last for several windows alarm it, whatever `delta` is.

    - `figure`: as in `PageHinkley`. An alarm is a finding when the figure is worse than before.
    - `delta`: the probability of a false alarm of one comparison.
    - `min_windows`: how many windows come before the first comparison.
    """

    figure: str | None = None
    delta: float = 0.002
    min_windows: int = 10


@dataclass(frozen=True)
class LossChange:
    """Detects that the champion's loss has risen, and its excess over the loss that its own scores predict as well.

    Both are compared with their first windows. The test takes the number of rows of a window into account, so that no
    threshold depends on it or on the windows' width.

    - `rise`: the least rise that counts, as a share of the loss before.
    - `limit`: the limit of the cumulative sum of standardised rises. At 3 a champion without a change runs about 2,000
      windows until a false alarm, at 5 about 100,000.
    - `windows`: how many windows come before the first comparison, at least 3.
    """

    rise: float = 0.02
    limit: float = 3.0
    windows: int = 5


Watch = Charts | PageHinkley | Adwin | LossChange
