"""The inputs area: what watching the inputs costs per decision, and a drift report beside Evidently's on the same rows and bins."""

import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.measure import BUILD, RUNS, ForeignLoad, Row, Series, below, compare, peer_python, progress, run_json
from headrace.events.inference import DecisionMade, Score, Served
from headrace.events.references import ColumnReference, VersionReference
from headrace.events.registry import ArtifactPlace, ColumnPin, Lineage, Signature, VersionRegistered
from headrace.stats.bins import edges_of
from headrace.stats.distances import ks, psi
from headrace.stats.profiles import Frame, Profile
from headrace.stats.sketches import sketch_of
from headrace_monitor.core.input_watch import InputWatch
from headrace_monitor.core.references import References

COLUMNS, ROWS = 30, 10_000
DECISIONS, AN_HOUR = 40_000, 500
MOST_US, TIMES = 20.0, 15.0
# NB: Evidently fills an empty bin with a millionth of the least share, here 1e-10, and ours with 1e-4: such columns differ by up to .005.
APART, APART_EMPTY = 1e-6, 0.01
DAY_S, HOUR_S = 86_400.0, 3600.0


def run() -> list[Row]:
    """The rows of the report."""
    return [_per_decision(), *_beside_evidently()]


def _rows(count: int, shift: float, seed: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    return rng.normal(np.linspace(0, shift, COLUMNS), 1, (count, COLUMNS)).astype(np.float32)


def _per_decision() -> Row:
    """CPU of taking decisions and of looking at each hour of 500 of them, with profiles, sketches and contracts."""
    matrix = _rows(DECISIONS, 0.0, 1)
    columns = tuple(
        ColumnReference(
            f"x{n}", "number", (0.1,) * 10, edges_of(matrix[:, n]), low=-5, high=5, tail=0.4, sketch=sketch_of(matrix[:, n])
        )
        for n in range(COLUMNS)
    )  # fmt: skip
    reference = VersionReference(DECISIONS, 0.0, DAY_S, DAY_S, 12_000.0, columns)
    signature = Signature(tuple(ColumnPin(column.name) for column in columns), "s")
    references = References()
    references.add(
        VersionRegistered(
            "d", "d", 1, ArtifactPlace("a" * 64, 0, 1, 1), "m", signature, "binary", (), Lineage(), {}, (), "", 1, "t",
            0.0, "c", reference=reference,
        )
    )  # fmt: skip
    answer = Served(Score(1, "m", 0.3))
    made = [
        DecisionMade(f"r{n}", "d", f"u{n}", n * HOUR_S / AN_HOUR, answer, n, row.tobytes(), "s")
        for n, row in enumerate(matrix)
    ]
    took = []
    with ForeignLoad() as load:
        for _ in range(RUNS):
            watch = InputWatch("d", DAY_S, "inference.decisions.v1", references)
            began_s = time.process_time()
            for n, one in enumerate(made):
                watch.add(one, one.at_s // DAY_S * DAY_S, 0, n)
                if n % AN_HOUR == 0:
                    watch.look(one.at_s, one.at_s, 0.0, {})
            took.append((time.process_time() - began_s) / DECISIONS * 1e6)
    return below("inputs.per_decision", "us CPU", took, f"< {MOST_US:g} us at {COLUMNS} columns", MOST_US, load.share)


def report(reference: NDArray[np.float32], current: NDArray[np.float32]) -> tuple[list[float], list[float], list[bool]]:
    """PSI and Kolmogorov-Smirnov distance per column, over Evidently's bins (Sturges' edges of both samples), and whether one is empty."""
    both = np.concatenate([reference, current])
    edges = [np.histogram_bin_edges(both[:, n], bins="sturges")[1:-1] for n in range(both.shape[1])]
    frame = Frame([ColumnReference("", "number", (0.0,) * (len(e) + 1), tuple(e.tolist())) for e in edges])
    profiles = [Profile(frame), Profile(frame)]
    for profile, rows in zip(profiles, (reference, current), strict=True):
        profile.fold(frame.binned(rows))
    counts = [[profile.bins_of(n) for profile in profiles] for n in range(len(edges))]
    is_empty = [min(map(min, one)) == 0 for one in counts]
    return [psi(*one) for one in counts], [ks(*one) for one in counts], is_empty


def _beside_evidently() -> list[Row]:
    reference, current = _rows(ROWS, 0.0, 2), _rows(ROWS, 0.5, 3)
    folder = BUILD / "inputs"
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "reference.npy", reference)
    np.save(folder / "current.npy", current)
    ours, found = Series(), None
    with ForeignLoad() as load:
        for _ in range(RUNS):
            began_s = time.process_time()
            shown, _, is_empty = report(reference, current)
            ours.values.append(time.process_time() - began_s)
        if (python := peer_python("evidently")) is not None:
            progress("Evidently's drift report")
            found = run_json([python, Path(__file__).parent / "peers/evidently_drift.py", folder], 900)
    if found is None:
        return []
    # NB: ours makes both statistics at once; Evidently makes one report for each.
    theirs = Series([found["took_s"]["psi"] + found["took_s"]["ks"]])
    apart = [abs(found["values"]["psi"][f"x{n}"] - one) for n, one in enumerate(shown)]
    whole = max(one for one, empty in zip(apart, is_empty, strict=True) if not empty)
    return [
        compare(
            "inputs.drift_report", "s CPU", ours, demanded=f">= {TIMES:g}x", peer="Evidently", theirs=theirs,
            meets=lambda _, ratio: ratio is not None and ratio >= TIMES, foreign=load.share,
        ),
        below("inputs.psi_apart_from_evidently", "nats", [whole], f"< {APART:g}", APART, load.share),
        below("inputs.psi_apart_where_a_bin_is_empty", "nats", [max(apart)], f"< {APART_EMPTY:g}", APART_EMPTY, load.share),
    ]  # fmt: skip
