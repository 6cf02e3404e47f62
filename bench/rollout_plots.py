"""The plots of the guide "how a rollout is judged": evidence over time for a good and for a bad version, on real flights in their order.

`python -m bench.rollout_plots` writes docs/guides/evidence-good.svg and evidence-bad.svg. The good version is the one of
August beside the champion of June, the bad one is fitted on shuffled labels until August, beside the version of August;
both from 1 September. Labels are taken as known at once: a label delay moves all of it to the right.
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from bench.flight_scores import HOUR_S, span_of, year
from bench.measure import ROOT
from bench.rollout_harness import ALPHA, PLAN, Pair, Records
from bench.rollouts import usual_margin
from headrace.stats.alphas import LabelAlphas
from headrace.stats.level import level
from headrace.stats.ranking import RankingTest
from headrace.stats.trials import Table, Traffic

Floats = NDArray[np.float64]
Points = Sequence[tuple[float, float]]

ALPHAS = LabelAlphas.of(ALPHA)
CYCLES, HOURS, FIRST_CYCLE = 42, 72, 5
GOOD, BAD = Pair("aug", "jun", 9), Pair("shuffled_aug", "aug", 9)
WIDTH, HEIGHT, LEFT, RIGHT = 760.0, 300.0, 76.0, 20.0
TOP, BOTTOM = 46.0, 44.0
BLUE, BAND, RED, GREY = "#1f5fa8", "#d3e2f3", "#b3261e", "#5f6368"


@dataclass(frozen=True)
class Panel:
    """A pair of axes. `x`, `y`: their ranges; `at_px`: where it begins, from above."""

    title: str
    x: tuple[float, float]
    y: tuple[float, float]
    x_name: str
    y_name: str
    at_px: float

    def place(self, x: float, y: float) -> tuple[float, float]:
        """In pixels."""
        right = LEFT + (x - self.x[0]) / (self.x[1] - self.x[0]) * (WIDTH - LEFT - RIGHT)
        tall = HEIGHT - TOP - BOTTOM
        return round(right, 1), round(self.at_px + TOP + (self.y[1] - y) / (self.y[1] - self.y[0]) * tall, 1)

    def points(self, points: Points) -> str:
        """As the points of a line."""
        return " ".join(f"{x:g},{y:g}" for x, y in (self.place(*point) for point in points))

    def axes(self) -> list[str]:
        """The frame, the ticks and the names."""
        (left, bottom), (right, top) = self.place(self.x[0], self.y[0]), self.place(self.x[1], self.y[1])
        middle = (top + bottom) / 2
        parts = [
            f'<text x="{LEFT}" y="{self.at_px + 26:g}" font-size="15" font-weight="bold">{escape(self.title)}</text>',
            f'<rect x="{left}" y="{top}" width="{right - left:g}" height="{bottom - top:g}" fill="none" stroke="{GREY}"/>',
            f'<text x="{(left + right) / 2:g}" y="{bottom + 36:g}" text-anchor="middle">{escape(self.x_name)}</text>',
            f'<text transform="translate(16 {middle:g}) rotate(-90)" text-anchor="middle">{escape(self.y_name)}</text>',
        ]
        for value in ticks(*self.x):
            x, _ = self.place(value, self.y[0])
            parts.append(f'<path d="M{x} {bottom}v5" stroke="{GREY}"/>')
            parts.append(f'<text x="{x}" y="{bottom + 18:g}" text-anchor="middle">{value:g}</text>')
        for value in ticks(*self.y):
            _, y = self.place(self.x[0], value)
            parts.append(f'<path d="M{left} {y}h-5" stroke="{GREY}"/>')
            parts.append(f'<text x="{left - 8:g}" y="{y + 4:g}" text-anchor="end">{value:g}</text>')
        return parts

    def line(self, points: Points, color: str = BLUE, dash: str = "") -> str:
        """A line that ends where the panel does."""
        style = f' stroke-dasharray="{dash}"' if dash else ""
        inside = f'clip-path="url(#{self.clip})"'
        return (
            f'<polyline points="{self.points(points)}" fill="none" stroke="{color}" stroke-width="2"{style} {inside}/>'
        )

    def band(self, lower: Points, upper: Points) -> str:
        """The area between two lines."""
        around = [*lower, *reversed(upper)]
        return f'<polygon points="{self.points(around)}" fill="{BAND}" clip-path="url(#{self.clip})"/>'

    def note(self, x: float, y: float, text: str, color: str, anchor: str = "start") -> str:
        """A word at a place."""
        left, top = self.place(x, y)
        return f'<text x="{left}" y="{top - 6:g}" fill="{color}" text-anchor="{anchor}">{escape(text)}</text>'

    def mark(self, x: float, y: float, text: str, color: str, down_px: float = -8) -> list[str]:
        """A point with a word beside it."""
        left, top = self.place(x, y)
        word = f'<text x="{left + 10:g}" y="{top + down_px:g}" fill="{color}" font-weight="bold">{escape(text)}</text>'
        return [f'<circle cx="{left}" cy="{top}" r="5" fill="{color}"/>', word]

    @property
    def clip(self) -> str:
        """The name of its frame, at which lines end."""
        return f"panel-{self.at_px:g}"

    def frame(self) -> str:
        """The definition of that frame."""
        (left, bottom), (right, top) = self.place(self.x[0], self.y[0]), self.place(self.x[1], self.y[1])
        box = f'<rect x="{left}" y="{top}" width="{right - left:g}" height="{bottom - top:g}"/>'
        return f'<clipPath id="{self.clip}">{box}</clipPath>'


def ticks(low: float, high: float, about: int = 6) -> list[float]:
    """Round values within a range.

    >>> ticks(0, 42)
    [0.0, 10.0, 20.0, 30.0, 40.0]
    """
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw)
    first = math.ceil(low / step - 1e-9)
    return [round(step * n, 10) for n in range(first, math.floor(high / step + 1e-9) + 1)]


def level_panel(table: Table, margin: float) -> list[str]:
    """The mean difference after each cycle with its bounds, against the margin."""
    requests, sums = (values.sum(axis=1)[:CYCLES] for values in (table.requests, table.differences))
    days = range(FIRST_CYCLE, CYCLES + 1)
    found = [level(requests[:day], sums[:day]) for day in days]
    mean, lower, upper = (
        [(float(day), float(value)) for day, value in zip(days, values, strict=True)]
        for values in (
            [one.mean for one in found],
            [one.low(ALPHAS.level) for one in found],
            [one.high(ALPHAS.shown) for one in found],
        )
    )
    settled = [value for _, value in [*lower[5:], *upper[5:], (0, margin), (0, 0.0)]]
    room = 0.12 * (max(settled) - min(settled))
    y = min(settled) - room, max(settled) + room
    panel = Panel(
        "Level: is it worse by more than the margin?", (0, CYCLES), y, "days", "difference of Brier scores", 0
    )
    first = float(PLAN.min_cycles)
    parts = [f"<defs>{panel.frame()}</defs>", panel.band(lower, upper), panel.line(mean)]
    parts += [
        panel.line([(0, margin), (CYCLES, margin)], RED, "7 5"),
        panel.line([(0, 0), (CYCLES, 0)], GREY, "2 4"),
        panel.line([(first, y[0]), (first, y[1])], GREY, "2 4"),
        panel.note(0.5, margin, f"margin {margin:.4f}", RED),
        panel.note(first - 0.3, y[0], "no verdict before this day", GREY, "end"),
        panel.note(CYCLES - 0.3, mean[-1][1], "mean, between its bounds", BLUE, "end"),
    ]
    passed = next((day for day, value in upper if day >= first and value < margin), None)
    failed = next((day for day, value in lower if day >= first and value > margin), None)
    if passed is not None:
        parts += panel.mark(passed, margin, f"PASS on day {passed:.0f}", "#1b6e3a")
    if failed is not None:
        parts += panel.mark(failed, margin, f"FAIL on day {failed:.0f}", RED)
    return [*parts, *panel.axes()]


def ranking_panel(traffic: Traffic, begin_s: float) -> list[str]:
    """The evidence of the ranking test after each hour, against its threshold."""
    test = RankingTest(traffic.kind, traffic.classes, PLAN.ranking_limit, 24)
    bounds = np.searchsorted(traffic.at_s, begin_s + np.arange(HOURS + 1) * HOUR_S).tolist()
    evidence, failed, labels = [(0.0, 0.0)], None, 0
    for hour in range(HOURS):
        rows = slice(bounds[hour], bounds[hour + 1])
        test.take(hour, traffic.new[rows], traffic.control[rows], traffic.labels[rows])
        evidence.append((hour + 1.0, test.log_e))
        if failed is None and test.has_failed(ALPHAS.ranking):
            failed, labels = hour + 1.0, test.labels
    threshold = -math.log(ALPHAS.ranking)
    values = [value for _, value in evidence]
    y = max(min(values), -20.0) - 1.5, min(max([*values, threshold]), 25.0) + 3.0
    panel = Panel("Ranking: has it lost its order?", (0, HOURS), y, "hours", "logarithm of the evidence", HEIGHT)
    parts = [f"<defs>{panel.frame()}</defs>", panel.line(evidence)]
    parts.append(panel.line([(0, threshold), (HOURS, threshold)], RED, "7 5"))
    parts.append(panel.note(0.5, threshold, f"threshold {threshold:.1f}", RED))
    parts.append(panel.line([(0, 0), (HOURS, 0)], GREY, "2 4"))
    if failed is not None:
        word = f"FAIL after {failed:.0f} hours, {labels:,} labels"
        parts += panel.mark(failed, evidence[int(failed)][1], word, RED, 18)
    return [*parts, *panel.axes()]


def plot(records: Records, pair: Pair, title: str, text: str) -> str:
    """The SVG of a pair."""
    begin_s, _ = span_of(pair.first, pair.after_last)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:g} {2 * HEIGHT:g}" role="img" '
        'aria-labelledby="title desc" font-family="sans-serif" font-size="12" fill="#202124">',
        f'<title id="title">{escape(title)}</title>',
        f'<desc id="desc">{escape(text)}</desc>',
        f'<rect width="{WIDTH:g}" height="{2 * HEIGHT:g}" fill="white"/>',
        *level_panel(records.table(pair), usual_margin(records, pair)),
        *ranking_panel(records.traffic(pair), begin_s),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def main() -> int:
    """Write both plots."""
    records, folder = Records(year()), ROOT / "docs" / "guides"
    for name, pair, title, text in (
        (
            "good",
            GOOD,
            "Evidence over time for a good version",
            "Above: the mean difference of the scores and its bounds come to lie below the margin, and the version "
            "passes. Below: the evidence of the ranking test falls, far from its threshold.",
        ),
        (
            "bad",
            BAD,
            "Evidence over time for a version that was fitted on shuffled labels",
            "Above: the mean difference of the scores lies above the margin, which takes weeks to show. Below: the "
            "evidence of the ranking test crosses its threshold within two days.",
        ),
    ):
        path = folder / f"evidence-{name}.svg"
        path.write_text(plot(records, pair, title, text))
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
