"""What a back-test shows: the table, the curves, and the picture."""

import struct
import zlib
from typing import Any

import numpy as np

from headrace_cli.backtest import shown
from headrace_cli.backtest.plot import HEIGHT, WIDTH, png
from headrace_cli.backtest.publishing import MOST_POINTS, reported
from headrace_cli.backtest.raster import BLACK, Picture

DAY = 86_400.0
GAIN = {"mean": 0.02, "low": 0.01, "high": 0.03, "rows": 500}
RETRAIN = {
    "at_s": 5 * DAY, "cause": "drift", "reason": "it rose", "outcome": "registered", "detail": "", "version": 2,
    "ready_s": 5.5 * DAY, "gain": GAIN,
}  # fmt: skip


def policy(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "name": name, "alarms": 2, "pages": 1, "false_alarms": 1, "allowed": 0.333, "asked": 3, "retrains": [RETRAIN],
        "delays": [{"plant": "flip=.3@1970-01-03..3d", "delay_s": 2 * DAY, "by": "drift"},
                   {"plant": "power=2@1970-01-08", "delay_s": None, "by": ""}],
        "gain": GAIN, "loss": 0.4, "percentile_of_phases": 90.0, "percentile_of_random": 87.4, "percentile_by_timing": 61.0,
        "phases": 10, "calendars": {"low": 0.0, "median": 0.01, "high": 0.015},
    } | changes  # fmt: skip


def report(*policies: dict[str, Any]) -> dict[str, Any]:
    at_s = np.linspace(DAY, 10 * DAY, 120).tolist()
    gained = {one["name"]: np.linspace(0, one["gain"]["mean"], 120).tolist() for one in policies}
    return {
        "deployment": "d", "from_s": 0.0, "to_s": 10 * DAY, "requests": 1000, "labelled": 990, "loss": "log-loss",
        "never": {"loss": 0.42}, "always": {"retrains": 10, "gain": 0.018}, "random_calendars": 1000,
        "policies": list(policies), "curves": {"at_s": at_s, "gained": gained}, "notes": ["one note"],
    }  # fmt: skip


DEAF = policy("deaf", retrains=[], gain=GAIN | {"mean": 0.0, "low": None}, pages=0, allowed=None, delays=[])


def test_a_row_has_alarms_beside_the_budget_delays_and_places() -> None:
    first, deaf, never, always = shown.rows(report(policy("mine"), DEAF))
    assert first["alarms"] == "2 (1 pages)"
    assert first["not_planted"] == "1 of 0.33 allowed"
    assert first["found_after"] == "flip=.3 2d (drift); power=2 never"
    assert (first["gain"], first["among_random"], first["by_timing"]) == ("+0.0200 [+0.0100, +0.0300]", "87", "61")
    assert (deaf["alarms"], deaf["not_planted"], deaf["gain"], deaf["retrains"]) == (
        "2",
        "1",
        "+0.0000",
        "0 of 3 asked",
    )
    assert (never["retrains"], always["gain"]) == (0, "+0.0180")


def test_curves_share_one_scale_and_mark_retrains() -> None:
    mine, marks, deaf = shown.curves(report(policy("mine"), DEAF))
    assert mine.endswith("█ +0.0200")
    assert mine.index("▁") == marks.index("^") - 33
    assert set(deaf.split()[1]) == {"▁"}


def test_the_feet_say_how_to_read_it() -> None:
    text = "\n".join(shown.feet(report(policy("mine"), DEAF)))
    assert "1,000 at random" in text
    assert "note: 1 retrain at random gain +0.0100 in the median (+0.0000 to +0.0150 in nine of ten)" in text
    assert "note: deaf did not retrain" in text
    assert text.endswith("note: one note")


def test_what_is_published_has_the_figures_and_curves_of_at_most_200_points() -> None:
    long = report(policy("mine"), DEAF)
    long["curves"] = {
        "at_s": np.linspace(DAY, 10 * DAY, 901).tolist(),
        "gained": {name: np.linspace(0, end, 901).tolist() for name, end in (("mine", 0.02), ("deaf", 0.0))},
    }
    found = reported(long, ["flip=.3@1970-01-03..3d"])
    mine, deaf = found.policies
    assert (len(found.curve_at_s), found.curve_at_s[-1], mine.curve[-1]) == (MOST_POINTS, 10 * DAY, 0.02)
    assert (mine.gain, mine.low, mine.high, mine.retrains_s, mine.asked) == (0.02, 0.01, 0.03, (5.5 * DAY,), 3)
    assert (mine.among_phases, mine.among_random, mine.by_timing, mine.allowed) == (90.0, 87.4, 61.0, 0.333)
    assert (deaf.low, deaf.retrains_s, found.always_retrains, found.never) == (None, (), 10, 0.42)
    assert found.faults == ("flip=.3@1970-01-03..3d",)


def pixels(data: bytes) -> np.ndarray:
    """The pixels of a picture as a reader of PNG gets them."""
    width, height = struct.unpack(">II", data[16:24])
    begin = data.index(b"IDAT") + 4
    size = struct.unpack(">I", data[begin - 8 : begin - 4])[0]
    assert struct.unpack(">I", data[begin + size : begin + size + 4])[0] == zlib.crc32(data[begin - 4 : begin + size])
    rows = np.frombuffer(zlib.decompress(data[begin : begin + size]), np.uint8).reshape(height, 1 + 3 * width)
    assert not rows[:, 0].any()
    return rows[:, 1:].reshape(height, width, 3)


def test_a_picture_has_the_pixels_that_were_drawn() -> None:
    picture = Picture(20, 10)
    picture.text(2, 1, "I", BLACK)
    picture.line([(0, 9), (19, 9)], (255, 0, 0), 1)
    found = pixels(picture.png())
    # the letter I of the set: a stem with two bars
    assert (found[1:8, 4] == BLACK).all()
    assert ((found[:, :, 0] == 30).sum(), (found[9, :, 1] == 0).sum()) == (11, 20)


def test_the_plot_of_a_report_has_a_line_per_policy() -> None:
    found = pixels(png(report(policy("mine"), DEAF)))
    assert found.shape == (HEIGHT, WIDTH, 3)
    colours = {tuple(colour) for colour in found.reshape(-1, 3).tolist()}
    assert {(0, 114, 178), (213, 94, 0)} <= colours
