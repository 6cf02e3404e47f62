"""The plots of the report about the monitor: pages of each synthetic year, and the delays of planted faults, as SVG."""

from collections.abc import Sequence
from xml.sax.saxutils import escape

import numpy as np

from bench.monitor_false_alarms import MONTHS, Pages
from bench.monitor_faults import Figures
from bench.monitor_weeks import DAY_S
from bench.rollout_plots import BLUE, GREY, HEIGHT, RED, WIDTH, Panel

LINE, LEFT, TOP, FOOT = 26.0, 170.0, 50.0, 46.0
# Delays from ten minutes to a hundred days, on a logarithmic axis; what is missed lies at its end.
SHORTEST, LONGEST, MISSED = 600.0, 100 * DAY_S, 180 * DAY_S
TICKS = {
    "10 min": 600.0,
    "1 h": 3600.0,
    "6 h": 21_600.0,
    "1 d": DAY_S,
    "3 d": 3 * DAY_S,
    "10 d": 10 * DAY_S,
    "30 d": 30 * DAY_S,
}


def pages_plot(pages: Pages, budget: float) -> str:
    """How many synthetic years had so many pages, with the budget of a year."""
    counts = np.bincount((pages.away + pages.at_seams).astype(int))
    widest = max(len(counts), round(2 * budget * MONTHS) + 2)
    title = f"Pages in each of {len(pages.away)} synthetic years without drift"
    panel = Panel(title, (0, widest), (0, float(counts.max()) * 1.15), "pages in a year of 52 weeks", "years", 0)
    parts = [f"<defs>{panel.frame()}</defs>"]
    for number, count in enumerate(counts.tolist()):
        (left, top), (right, bottom) = panel.place(number, count), panel.place(number + 1, 0)
        parts.append(
            f'<rect x="{left}" y="{top}" width="{right - left - 1:g}" height="{bottom - top:g}" fill="{BLUE}"/>'
        )
    for factor, word in ((1, "budget"), (2, "twice the budget")):
        at = factor * budget * MONTHS
        parts.append(panel.line([(at, 0), (at, panel.y[1])], RED, "7 5"))
        parts.append(panel.note(at + 0.2, panel.y[1] * 0.9, word, RED))
    return _svg(title, HEIGHT, [*parts, *panel.axes()])


def delays_plot(found: Sequence[Figures]) -> str:
    """Every trial of every fault as a point at its delay, the median as a line, missed ones at the right."""
    tall = TOP + LINE * len(found) + FOOT
    title = "Delay of planted faults: each point a trial, the line their median"
    parts = [f'<text x="16" y="26" font-size="15" font-weight="bold">{escape(title)}</text>']
    for word, seconds in {**TICKS, "missed": MISSED}.items():
        x = _x(seconds)
        parts.append(f'<path d="M{x} {TOP}V{tall - FOOT + 6:g}" stroke="{GREY}" stroke-opacity=".25"/>')
        parts.append(f'<text x="{x}" y="{tall - FOOT + 24:g}" text-anchor="middle">{word}</text>')
    for number, figures in enumerate(found):
        y = TOP + LINE * (number + 0.5)
        parts.append(f'<text x="{LEFT - 12}" y="{y + 4:g}" text-anchor="end">{escape(figures.fault.name)}</text>')
        for delay_s in figures.delays_s.tolist():
            parts.append(f'<circle cx="{_x(delay_s)}" cy="{y:g}" r="4" fill="{BLUE}" fill-opacity=".35"/>')
        x = _x(figures.quantile_s(0.5))
        parts.append(f'<path d="M{x} {y - 10:g}v20" stroke="{RED}" stroke-width="2"/>')
    return _svg(title, tall, parts)


def _x(delay_s: float) -> float:
    at = np.log(min(max(delay_s, SHORTEST), MISSED) / SHORTEST) / np.log(MISSED / SHORTEST)
    return round(float(LEFT + at * (WIDTH - LEFT - 30)), 1)


def _svg(title: str, height: float, parts: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:g} {height:g}" role="img" aria-labelledby="title" '
        'font-family="sans-serif" font-size="12" fill="#202124">'
    )
    ground = f'<rect width="{WIDTH:g}" height="{height:g}" fill="white"/>'
    return "\n".join([head, f'<title id="title">{escape(title)}</title>', ground, *parts, "</svg>"]) + "\n"
