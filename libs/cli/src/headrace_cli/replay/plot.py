"""Charts of a replay: a line for the terminal, and a self-contained SVG file."""

import math
from collections.abc import Iterator, Sequence
from html import escape

from headrace_cli.replay.figures import POINTS, Figures, binned
from headrace_cli.terminal.render import instant

_BLOCKS = "▁▂▃▄▅▆▇█"
_WIDTH, _HEIGHT = 960, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 24, 84, 70
# Eight colours that most people can distinguish (Okabe and Ito 2008, yellow darkened); the ninth version has the first colour, dotted.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#a08a00", "#5d3a9b")
_PRIOR = "#888888"
_DASHES = ("", "2 4", "10 4")
_A_ROW, _KEY_WIDTH, _KEY_HEIGHT = 7, 125, 16
# The number of rows for the labels of switches, and the width and height of a label.
_LABEL_ROWS, _LABEL_WIDTH, _LABEL_HEIGHT = 3, 62, 12
_HOUR_S, _DAY_S = 3600.0, 86_400.0
_TICKS_S = [n * _HOUR_S for n in (1, 2, 3, 6, 12)] + [n * _DAY_S for n in (1, 2, 4, 7, 14, 28, 56, 91, 182, 365)]


def sparkline(values: Sequence[float | None], low: float | None = None, high: float | None = None) -> str:
    """A chart with one block per value, blank for None. `low`, `high`: the ends of the scale; by default those of the values.

    >>> sparkline([0.0, None, 0.5, 1.0])
    '▁ ▅█'
    """
    found = [value for value in values if value is not None]
    if not found:
        return ""
    low, high = min(found) if low is None else low, max(found) if high is None else high
    return "".join(" " if value is None else _block(value, low, high) for value in values)


def _block(value: float, low: float, high: float) -> str:
    share = (value - low) / (high - low) if high > low else 0.5
    return _BLOCKS[round(share * (len(_BLOCKS) - 1))]


def course(figures: Figures) -> Sequence[float | None]:
    """The mean loss of the answers, by intervals of event time."""
    _, places = figures.places()
    return binned(figures.answered_loss, places, POINTS)


def svg(figures: Figures, title: str, loss: str) -> str:
    """A chart of the mean loss of each version and of the prior over event time, with the switches."""
    edges, places = figures.places()
    lines = {f"version {version}": binned(found, places, POINTS) for version, found in figures.loss.items() if version}
    lines["prior"] = binned(figures.prior_loss, places, POINTS)
    known = [value for line in lines.values() for value in line if value is not None]
    frame = _Frame(float(edges[0]), float(edges[-1]), round_ticks(min(known, default=0.0), max(known, default=1.0)))
    height = _HEIGHT + _KEY_HEIGHT * ((len(lines) - 1) // _A_ROW)
    parts = [*frame.axes(title, loss), *_switches(figures, frame)]
    for number, (name, line) in enumerate(lines.items()):
        colour, dash = _COLOURS[number % len(_COLOURS)], _DASHES[number // len(_COLOURS) % len(_DASHES)]
        colour, dash = (_PRIOR, "5 4") if name == "prior" else (colour, dash)
        parts += [*frame.line(line, colour, dash), *_key(number, name, colour, dash)]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="12">'
    background = f'<rect width="{_WIDTH}" height="{height}" fill="white"/>'
    return "\n".join([head, background, *parts, "</svg>\n"])


def round_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round, equally spaced numbers from at or below `low` to at or above `high`.

    >>> round_ticks(0.104, 0.919)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    >>> round_ticks(0.6931471805599452, 0.6931471805599453), round_ticks(0.0, 0.0)
    ([0.693, 0.6932], [0.0, 0.2])
    """
    # NB: the mean loss of a prior differs only by rounding, which no axis can show.
    least = max(abs(low), abs(high)) * 1e-3
    raw = (max(high - low, least) or 1.0) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(n * power for n in (1, 2, 2.5, 5, 10) if n * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{n * step:.12g}") for n in range(first, max(last, first + 1) + 1)]


def time_ticks(from_s: float, to_s: float, most: int = 8) -> list[float]:
    """Equally spaced full hours or days within an interval.

    >>> [instant(at_s)[:10] for at_s in time_ticks(1622505600.0, 1622505600.0 + 24 * 86400)]
    ['2021-06-01', '2021-06-05', '2021-06-09', '2021-06-13', '2021-06-17', '2021-06-21', '2021-06-25']
    """
    step_s = next((step for step in _TICKS_S if (to_s - from_s) / step <= most), None)
    step_s = step_s or _TICKS_S[-1] * math.ceil((to_s - from_s) / most / _TICKS_S[-1])
    unit_s = _DAY_S if step_s >= _DAY_S else step_s
    first_s = math.ceil(from_s / unit_s) * unit_s
    return [first_s + n * step_s for n in range(int((to_s - first_s) // step_s) + 1)]


class _Frame:
    """Maps instants and losses to positions in the chart. `ticks`: of the losses; the first and last are its edges."""

    def __init__(self, from_s: float, to_s: float, ticks: Sequence[float]) -> None:
        self._from_s, self._to_s, self._ticks = from_s, to_s, ticks
        self._low, self._high = ticks[0], ticks[-1]

    def x(self, at_s: float) -> float:
        return _LEFT + (at_s - self._from_s) / (self._to_s - self._from_s) * (_WIDTH - _LEFT - _RIGHT)

    def y(self, loss: float) -> float:
        return _HEIGHT - _BOTTOM - (loss - self._low) / (self._high - self._low) * (_HEIGHT - _TOP - _BOTTOM)

    def axes(self, title: str, loss: str) -> Iterator[str]:
        yield f'<text x="{_LEFT}" y="20" font-size="15">{escape(title)}</text>'
        days = f"{instant(self._from_s)[:10]} to {instant(self._to_s)[:10]}"
        yield f'<text x="{_LEFT}" y="37" fill="#555">mean {escape(loss)} per request by event time, {days} (UTC)</text>'
        for value in self._ticks:
            y = self.y(value)
            yield f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>'
            yield f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>'
        ticks = time_ticks(self._from_s, self._to_s)
        is_days = all(at_s % _DAY_S == 0 for at_s in ticks)
        for at_s in ticks:
            x, y = self.x(at_s), _HEIGHT - _BOTTOM
            shown = instant(at_s)[:10] if is_days else instant(at_s)[5:16]
            anchor = "start" if x < _LEFT + 30 else "end" if x > _WIDTH - _RIGHT - 30 else "middle"
            yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y}" y2="{y + 5}" stroke="#888"/>'
            yield f'<text x="{x:.1f}" y="{y + 18}" text-anchor="{anchor}">{shown}</text>'

    def line(self, values: Sequence[float | None], colour: str, dash: str) -> Iterator[str]:
        """A line per version; intervals without a value are gaps."""
        width_s = (self._to_s - self._from_s) / len(values)
        run: list[str] = []
        for place, value in enumerate([*values, None]):
            if value is not None:
                run.append(f"{self.x(self._from_s + (place + 0.5) * width_s):.1f},{self.y(value):.1f}")
            elif run:
                # NB: a line of one point is invisible, so it is drawn as a dot.
                points, drawn = (run, dash) if len(run) > 1 else (run * 2, "")
                yield f'<polyline points="{" ".join(points)}" fill="none" {_stroke(colour, drawn)} stroke-linecap="round"/>'
                run = []


def _stroke(colour: str, dash: str) -> str:
    return f'stroke="{colour}" stroke-width="2"' + (f' stroke-dasharray="{dash}"' if dash else "")


def _key(number: int, name: str, colour: str, dash: str) -> Iterator[str]:
    x, y = _LEFT + _KEY_WIDTH * (number % _A_ROW), _HEIGHT - 26 + _KEY_HEIGHT * (number // _A_ROW)
    yield f'<line x1="{x}" x2="{x + 22}" y1="{y - 4}" y2="{y - 4}" {_stroke(colour, dash)}/>'
    yield f'<text class="key" x="{x + 28}" y="{y}">{escape(name)}</text>'


def _switches(figures: Figures, frame: _Frame) -> Iterator[str]:
    """A line per switch, with its label above the plot if there is room."""
    free = [float("-inf")] * _LABEL_ROWS
    for switch in figures.switches:
        x = frame.x(figures.switched_at_s(switch))
        is_left = x > _WIDTH - _RIGHT - _LABEL_WIDTH
        from_x = x - _LABEL_WIDTH if is_left else x
        row = next((row for row, free_x in enumerate(free) if from_x >= free_x), None)
        top = _TOP - 8 - _LABEL_HEIGHT * (row or 0)
        yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top - 8}" y2="{_HEIGHT - _BOTTOM}" stroke="#333" stroke-dasharray="2 3"/>'
        if row is not None:
            free[row] = from_x + _LABEL_WIDTH
            anchor, gap = ("end", -4) if is_left else ("start", 4)
            yield (
                f'<text class="switch" x="{x + gap:.1f}" y="{top}" font-size="11" text-anchor="{anchor}" fill="#333">'
                f"version {switch.version}</text>"
            )
