"""The course of a replay: a line for the terminal, and an SVG file that needs nothing else."""

from collections.abc import Iterator, Sequence
from html import escape

from headrace_cli.render import instant
from headrace_cli.replay.figures import POINTS, Figures, binned

_BLOCKS = "▁▂▃▄▅▆▇█"
_WIDTH, _HEIGHT = 960, 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 50, 70
_COLOURS = ("#1f6fb4", "#d9541e", "#2e8b57", "#8e44ad", "#b8860b", "#c0392b", "#16a085", "#7f8c8d")
_PRIOR = "#888888"


def sparkline(values: Sequence[float | None]) -> str:
    """One block a value, blank where there is none.

    >>> sparkline([0.0, None, 0.5, 1.0])
    '▁ ▅█'
    """
    found = [value for value in values if value is not None]
    if not found:
        return ""
    low, high = min(found), max(found)
    return "".join(" " if value is None else _block(value, low, high) for value in values)


def _block(value: float, low: float, high: float) -> str:
    share = (value - low) / (high - low) if high > low else 0.5
    return _BLOCKS[round(share * (len(_BLOCKS) - 1))]


def course(figures: Figures) -> Sequence[float | None]:
    """The mean loss of the answers, by stretches of event time."""
    _, places = figures.places()
    return binned(figures.answered_loss, places, POINTS)


def svg(figures: Figures, title: str, loss: str) -> str:
    """The mean loss of each version and of the prior over event time, and where versions were switched."""
    edges, places = figures.places()
    lines = {f"version {version}": binned(found, places, POINTS) for version, found in figures.loss.items() if version}
    lines["prior"] = binned(figures.prior_loss, places, POINTS)
    known = [value for line in lines.values() for value in line if value is not None]
    frame = _Frame(float(edges[0]), float(edges[-1]), min(known, default=0.0), max(known, default=1.0))
    parts = [*frame.axes(title, loss), *_switches(figures, frame)]
    for number, (name, line) in enumerate(lines.items()):
        colour = _PRIOR if name == "prior" else _COLOURS[number % len(_COLOURS)]
        parts += [*frame.line(line, colour, is_dashed=name == "prior"), frame.key(number, name, colour)]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" font-size="12">'
    background = f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>'
    return "\n".join([head, background, *parts, "</svg>\n"])


class _Frame:
    """From instants and losses to places on the picture."""

    def __init__(self, from_s: float, to_s: float, low: float, high: float) -> None:
        self._from_s, self._to_s = from_s, to_s
        room = (high - low or abs(high) or 1.0) * 0.05
        self._low, self._high = low - room, high + room

    def x(self, at_s: float) -> float:
        return _LEFT + (at_s - self._from_s) / (self._to_s - self._from_s) * (_WIDTH - _LEFT - _RIGHT)

    def y(self, loss: float) -> float:
        return _HEIGHT - _BOTTOM - (loss - self._low) / (self._high - self._low) * (_HEIGHT - _TOP - _BOTTOM)

    def axes(self, title: str, loss: str) -> Iterator[str]:
        yield f'<text x="{_LEFT}" y="20" font-size="15">{escape(title)}</text>'
        yield f'<text x="{_LEFT}" y="38" fill="#555">mean {escape(loss)} per request, by event time</text>'
        for share in (0.0, 0.25, 0.5, 0.75, 1.0):
            value = self._low + share * (self._high - self._low)
            at_s = self._from_s + share * (self._to_s - self._from_s)
            y, x = self.y(value), self.x(at_s)
            anchor = "end" if share == 1.0 else "middle" if share else "start"
            yield f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>'
            yield f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.3g}</text>'
            yield f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="{anchor}">{instant(at_s)[:16]}</text>'

    def line(self, values: Sequence[float | None], colour: str, *, is_dashed: bool) -> Iterator[str]:
        """Stretches without a value are gaps."""
        width_s = (self._to_s - self._from_s) / len(values)
        dash = ' stroke-dasharray="5 4"' if is_dashed else ""
        run: list[str] = []
        for place, value in enumerate([*values, None]):
            if value is not None:
                run.append(f"{self.x(self._from_s + (place + 0.5) * width_s):.1f},{self.y(value):.1f}")
            elif run:
                # NB: a line of one point is none: it is drawn as a short stroke.
                points = " ".join(run if len(run) > 1 else run * 2)
                yield f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2" stroke-linecap="round"{dash}/>'
                run = []

    def key(self, number: int, name: str, colour: str) -> str:
        x, y = _LEFT + 130 * (number % 6), _HEIGHT - 28 + 16 * (number // 6)
        return f'<text x="{x}" y="{y}" fill="{colour}">&#9632; {escape(name)}</text>'


def _switches(figures: Figures, frame: _Frame) -> Iterator[str]:
    for switch in figures.switches:
        x = frame.x(figures.switched_at_s(switch))
        yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}" stroke="#333" stroke-dasharray="2 3"/>'
        yield f'<text x="{x + 4:.1f}" y="{_TOP + 10}" fill="#333">version {switch.version}</text>'
