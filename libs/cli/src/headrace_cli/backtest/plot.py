"""The plot of a back-test: what each policy had gained by then, its retrains, and where calendars of equal count end."""

from collections.abc import Mapping
from typing import Any

from headrace_cli.backtest.raster import BLACK, GREY, LETTER_WIDTH, PALE, Colour, Picture
from headrace_cli.replay.plot import round_ticks, time_ticks
from headrace_cli.terminal.render import instant

WIDTH, HEIGHT = 1200, 560
_LEFT, _RIGHT, _TOP, _BOTTOM = 110, 150, 90, 60
# Colours that most people can distinguish (Okabe and Ito 2008).
_COLOURS: tuple[Colour, ...] = (
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (230, 159, 0),
    (86, 180, 233),
)
_SIZE = 2


def png(report: Mapping[str, Any]) -> bytes:
    """The plot of a report, see `headrace_backtest.report`."""
    picture, curves = Picture(WIDTH, HEIGHT), report["curves"]["gained"]
    ends = [value for policy in report["policies"] for value in policy["calendars"].values()]
    values = [0.0, *ends, *(value for curve in curves.values() for value in curve)]
    frame = _Frame(report["from_s"], report["to_s"], round_ticks(min(values), max(values)))
    frame.axes(picture, report)
    for number, policy in enumerate(report["policies"]):
        colour = _COLOURS[number % len(_COLOURS)]
        _calendars(picture, frame, policy, colour, number)
        points = zip(report["curves"]["at_s"], curves[policy["name"]], strict=True)
        picture.line([frame.place(report["from_s"], 0.0), *(frame.place(*point) for point in points)], colour, 3)
        for one in policy["retrains"]:
            x, _ = frame.place(one["ready_s"], 0.0)
            picture.box(x - 1, HEIGHT - _BOTTOM - 14, x + 2, HEIGHT - _BOTTOM, colour)
        picture.text(_LEFT + 8, _TOP + 8 + 20 * number, policy["name"], colour, _SIZE)
    return picture.png()


class _Frame:
    """Maps instants and gains to places. `ticks`: of the gains; the first and the last are its edges."""

    def __init__(self, from_s: float, to_s: float, ticks: list[float]) -> None:
        self._from_s, self._to_s, self._ticks = from_s, to_s, ticks

    def place(self, at_s: float, gain: float) -> tuple[float, float]:
        """In pixels."""
        low, high = self._ticks[0], self._ticks[-1]
        x = _LEFT + (at_s - self._from_s) / (self._to_s - self._from_s) * (WIDTH - _LEFT - _RIGHT)
        return x, HEIGHT - _BOTTOM - (gain - low) / (high - low) * (HEIGHT - _TOP - _BOTTOM)

    def axes(self, picture: Picture, report: Mapping[str, Any]) -> None:
        """The title, and lines at round values and days."""
        picture.text(_LEFT, 16, f"{report['deployment']}: gained over never, by policy", BLACK, _SIZE)
        picture.text(
            _LEFT, 40, f"{report['loss']} per request; below: retrains; right: calendars of equal count", GREY, _SIZE
        )
        for value in self._ticks:
            _, y = self.place(self._from_s, value)
            picture.box(_LEFT, y, WIDTH - _RIGHT, y + 1, GREY if value == 0 else PALE)
            picture.text(_LEFT - 8, y - 8, f"{value:g}", GREY, _SIZE, "end")
        for at_s in time_ticks(self._from_s, self._to_s, 6):
            x, y = self.place(at_s, self._ticks[0])
            picture.box(x, y, x + 1, y + 6, GREY)
            half = LETTER_WIDTH * _SIZE * 5
            picture.text(min(max(x, half), WIDTH - half), y + 14, instant(at_s)[:10], GREY, _SIZE, "middle")


def _calendars(picture: Picture, frame: _Frame, policy: Mapping[str, Any], colour: Colour, number: int) -> None:
    """Nine of ten random calendars, and their median, beside the end of the curve."""
    x, found = WIDTH - _RIGHT + 14 + 16 * number, policy["calendars"]
    (_, top), (_, middle), (_, bottom) = (frame.place(0.0, found[name]) for name in ("high", "median", "low"))
    picture.box(x, top, x + 8, bottom, PALE)
    picture.box(x, middle - 1, x + 8, middle + 1, colour)
