"""Derived columns, defaults, and repeats: the same for one row and for many, in serving and training."""

import math
from collections.abc import Iterable

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import Misconfigured
from headrace.events.features import IdentitiesSeen
from headrace.features.derived import evaluate
from headrace.features.repeats import PART_IDENTITIES, Repeats
from headrace.features.rows import RowMaker, bare_signature
from headrace.project import Category, Count, Deployment, Derived, FeatureView, Key, Mean, Number, Project, Source, fn
from headrace.project.compile import compile_project
from headrace.project.derived import trace


class Landing(msgspec.Struct):
    at: float
    carrier: str
    flight: str
    delay: float | None = None


LANDINGS = Source("landings", event=Landing, event_time="at", key="carrier", dedupe="flight", dedupe_within="1h")
CARRIER = FeatureView(
    "carrier", LANDINGS, "carrier", {"delay_3h": Mean("delay", "3h", default=-1.0), "delay_24h": Mean("delay", "24h"), "n": Count("3h")}
)  # fmt: skip
DERIVED = [
    Derived("speed_mph", lambda r: r.miles / (r.minutes / 60)),
    Derived("worse", lambda r: r["carrier.delay_3h"] - r["carrier.delay_24h"]),
    Derived("is_night", lambda r: fn.where((r.hour < 6) | (r.hour >= 22), 1, 0)),
    Derived("is_own", lambda r: r.carrier == "AA"),
    Derived("log_speed", lambda r: fn.log(r.speed_mph)),
]


def deployment(derived: list[Derived]) -> Deployment:
    return Deployment(
        "d",
        "u",
        [Number("miles"), Number("minutes", nullable=True), Number("hour"), Category("carrier"), Key("tail")],
        [CARRIER.by("carrier")],
        derived=derived,
    )


def compiled(derived: list[Derived]):
    return compile_project(Project("p", [deployment(derived)], sources=[LANDINGS], views=[CARRIER]))


def test_a_row_holds_inputs_then_derived_columns_then_features_with_their_defaults() -> None:
    project = compiled(DERIVED)
    maker = RowMaker(project.deployments[0], bare_signature(project, project.deployments[0]))
    inputs = [
        {"miles": 600.0, "minutes": 120.0, "hour": 23, "carrier": "AA"},
        {"miles": 600.0, "minutes": None, "hour": 7, "carrier": None},
    ]
    features = np.array([[np.nan, 4.0, 2.0], [7.0, 3.0, 1.0]])
    names = [column.name for column in maker.signature.columns]
    first, second = (dict(zip(names, row.tolist(), strict=True)) for row in maker.rows(inputs, features))
    assert names[:4] == ["miles", "minutes", "hour", "carrier"]
    assert (first["speed_mph"], first["is_night"], first["is_own"]) == (300.0, 1.0, 1.0)
    assert first["carrier.delay_3h"] == -1.0
    assert first["worse"] == -5.0
    assert first["log_speed"] == np.float32(math.log(300.0))
    assert math.isnan(second["speed_mph"])
    assert (second["is_night"], second["is_own"], second["worse"]) == (0.0, 0.0, 4.0)


@given(st.lists(st.tuples(st.floats(-1e9, 1e9), st.floats(-1e3, 1e3)), min_size=1, max_size=40))
def test_one_row_and_many_rows_agree_to_the_last_bit(pairs: list[tuple[float, float]]) -> None:
    expression = trace(Derived("x", lambda r: fn.sin(r.a) + fn.exp(r.b / 7) * fn.log(r.a) - fn.sqrt(r.a % 3) / r.b))
    a, b = np.array(pairs).T
    many = evaluate(expression, {"a": a, "b": b}, len(a))
    ones = [evaluate(expression, {"a": a[n : n + 1], "b": b[n : n + 1]}, 1)[0] for n in range(len(a))]
    assert many.tobytes() == np.array(ones).tobytes()


@pytest.mark.parametrize(
    ("derived", "message"),
    [
        (Derived("x", lambda r: 1 if r.hour < 6 else 0), "fn.where"),
        (Derived("x", lambda r: math.log(r.miles)), "functions of headrace.project.fn"),
        (Derived("x", lambda r: r.milles * 2), r"reads \['milles'\]"),
        (Derived("miles", lambda r: r.hour * 2), "has the name of another column"),
        (Derived("x", lambda r: [1, 2]), "made of columns, numbers and texts"),
    ],
)
def test_an_invalid_derived_column_is_refused_with_the_way_out(derived: Derived, message: str) -> None:
    with pytest.raises(Misconfigured, match=message):
        compiled([derived])


def test_a_changed_derived_column_is_another_signature() -> None:
    before, after = (
        compiled([Derived("x", lambda r: r.miles * 2)]),
        compiled([Derived("x", lambda r: r.miles * 3)]),
    )
    one, two = (bare_signature(p, p.deployments[0]) for p in (before, after))
    assert one.digest != two.digest


SOURCE = compiled([]).sources[0]


def landing(at: float, flight: str = "1", carrier: str = "AA") -> Landing:
    return Landing(at, carrier, flight)


def test_the_first_of_an_identity_counts_and_one_an_hour_later_is_another_event() -> None:
    repeats = Repeats(SOURCE)
    times = (0.0, 60.0, 3599.0, 3600.0, 3700.0)
    assert [repeats.is_repeat(landing(at), at) for at in times] == [False, True, True, False, True]
    assert not repeats.is_repeat(landing(10.0, "2"), 10.0)
    assert not repeats.is_repeat(landing(10.0, "1", "UA"), 10.0)


@given(st.lists(st.tuples(st.integers(0, 20_000), st.sampled_from("abc")), max_size=60), st.sets(st.integers(0, 60)))
def test_stored_and_restored_repeats_decide_as_if_never_interrupted(
    events: list[tuple[int, str]], cuts: set[int]
) -> None:
    through, running = Repeats(SOURCE, 40_000.0), Repeats(SOURCE, 40_000.0)
    written: list[IdentitiesSeen] = []
    for n, (at, who) in enumerate(events):
        if n in cuts:
            running = restored(written)
        assert running.is_repeat(landing(at, who), at) == through.is_repeat(landing(at, who), at)
        written += running.take_touched(0)


def restored(written: Iterable[IdentitiesSeen]) -> Repeats:
    repeats = Repeats(SOURCE, 40_000.0)
    for seen in written:
        repeats.restore(seen)
    return repeats


def test_records_stay_small_and_new_however_many_identities_share_an_instant() -> None:
    repeats = Repeats(SOURCE, 40_000.0)
    written: list[IdentitiesSeen] = []
    for begin in range(0, 20_000, 1000):
        assert not any(repeats.is_repeat(landing(0.0, str(n)), 0.0) for n in range(begin, begin + 1000))
        batch = repeats.take_touched(0)
        assert sum(len(seen.codes) for seen in batch) <= 8 * (1000 + PART_IDENTITIES)
        written += batch
    assert len({seen.part for seen in written}) == 20_000 / PART_IDENTITIES
    assert max(len(seen.codes + seen.at_s) for seen in written) == 16 * PART_IDENTITIES
    for again in (restored(written), restored(repeats.take_all(0))):
        assert again.held_bytes == repeats.held_bytes
        assert all(again.is_repeat(landing(60.0, str(n)), 60.0) for n in range(20_000))
        assert not again.is_repeat(landing(90_000.0, "later"), 90_000.0)
        assert again.take_expired() == [(0, part) for part in range(20_000 // PART_IDENTITIES)]
        assert again.held_bytes == 180


def test_an_older_bucket_without_parts_is_read_and_continued_in_parts() -> None:
    codes, at_s = np.arange(60_000, dtype="<u8").tobytes(), np.full(60_000, 5.0, "<f8").tobytes()
    old = msgspec.to_builtins(IdentitiesSeen("landings", 0, 0, codes, at_s), builtin_types=(bytes,))
    del old["part"]
    repeats = restored([msgspec.convert(old, IdentitiesSeen)])
    assert repeats.held_bytes == 60_000 * 180
    assert not repeats.is_repeat(landing(7.0), 7.0)
    assert repeats.is_repeat(landing(8.0), 8.0)
    (seen,) = repeats.take_touched(0)
    assert (seen.part, len(seen.codes)) == (1, 8)
    assert not repeats.is_repeat(landing(90_000.0), 90_000.0)
    assert repeats.take_expired() == [(0, 0), (0, 1)]


def test_an_identity_that_repeats_with_an_earlier_instant_is_kept_by_its_newest() -> None:
    repeats = Repeats(SOURCE, keep_s=7200.0)
    for at, who in ((9000.0, "1"), (0.0, "1"), (12_000.0, "2")):
        assert not repeats.is_repeat(landing(at, who), at)
    assert repeats.take_expired() == [(0, 0)]
    assert repeats.is_repeat(landing(9001.0, "1"), 9001.0)
    assert not repeats.is_repeat(landing(9002.0, "3"), 9002.0)
    assert [len(seen.codes) for seen in repeats.take_touched(0)] == [16, 8]


def test_identities_that_can_decide_nothing_are_dropped() -> None:
    repeats = Repeats(SOURCE, keep_s=7200.0)
    for at in (0.0, 3000.0, 20_000.0):
        repeats.is_repeat(landing(at, str(at)), at)
    assert repeats.take_expired() == [(0, 0), (10, 0)]
    assert not repeats.is_repeat(landing(1.0, "0.0"), 1.0)
