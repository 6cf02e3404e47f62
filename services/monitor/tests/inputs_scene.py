"""Requests of a deployment with a category, two numbers and a feature, and a version whose reference describes forty days of them."""

import numpy as np
from numpy.typing import NDArray

from headrace.events.inference import DecisionMade, Invalid, Score, Served
from headrace.events.monitor import FindingOpened
from headrace.events.references import ColumnReference, VersionReference
from headrace.events.registry import ArtifactPlace, ColumnPin, Lineage, Signature, VersionRegistered
from headrace.stats.bins import codes_of, edges_of, places_of, places_of_codes
from headrace.stats.sketches import sketch_of
from headrace_monitor.core.facts import FindingOver
from headrace_monitor.core.findings import key_of
from headrace_monitor.core.input_watch import InputWatch, Seen
from headrace_monitor.core.references import References

DAY, HOUR = 86_400.0, 3600.0
AN_HOUR = 50
NAMES = ("carrier", "miles", "hour", "carrier.mean")
PINS = (ColumnPin("carrier", ("AA", "UA", "ZZ")), *map(ColumnPin, NAMES[1:]))


def rows(from_s: float, to_s: float, seed: int = 5) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Instants, fifty per hour, and rows: carrier, miles, hour of the day (5 to 22), and a feature that is null in a tenth."""
    rng = np.random.default_rng([seed, int(from_s + 100 * DAY)])
    at_s = np.arange(from_s, to_s, HOUR / AN_HOUR)
    count = len(at_s)
    carrier = rng.choice(3, count, p=[0.6, 0.35, 0.05])
    mean = np.where(rng.random(count) < 0.1, np.nan, rng.normal(5, 3, count))
    columns = [carrier, rng.lognormal(6.5, 0.5, count), rng.integers(5, 23, count), mean]
    return at_s, np.column_stack(columns).astype(np.float32)


def column(name: str, values: NDArray[np.float32], spread: float = 1.5, tail: float = 0.4) -> ColumnReference:
    is_category = name == "carrier"
    codes, edges = (codes_of(values), ()) if is_category else ((), edges_of(values))
    places = places_of_codes(values, codes) if is_category else places_of(values, edges)
    counts = np.bincount(places[places >= 0], minlength=len(codes) + 2 if is_category else len(edges) + 1)
    found = ColumnReference(
        name, "category" if is_category else "number", tuple((counts / counts.sum()).tolist()), edges, codes,
        null_share=float(np.isnan(values).mean()), most_null=0.15 if name == "carrier.mean" else 0.0,
        most_null_hours=(0.3 if name == "carrier.mean" else 0.0,), spread=spread, tail=tail,
    )  # fmt: skip
    if is_category:
        return found
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    logs = {"log_mean": 6.5, "log_std": 0.5, "log_apart": 0.03} if name == "miles" else {}
    more = {"low": low, "high": high, "sketch": sketch_of(values), **logs}
    return ColumnReference(**{name: getattr(found, name) for name in found.__struct_fields__} | more)


def reference() -> VersionReference:
    _, matrix = rows(-40 * DAY, 0.0)
    columns = tuple(column(name, matrix[:, n]) for n, name in enumerate(NAMES))
    scores = column("score", np.random.default_rng(1).beta(2, 5, 5000).astype(np.float32))
    return VersionReference(len(matrix), -40 * DAY, 0.0, DAY, 24.0 * AN_HOUR, columns, scores)


def registered(version: int = 1, found: VersionReference | None = None) -> VersionRegistered:
    place, signature = ArtifactPlace("a" * 64, 0, 1, 1), Signature(PINS, "s")
    return VersionRegistered(
        "d", "d", version, place, "m", signature, "binary", (), Lineage(), {}, (), "", 1, "t", 0.0, "c",
        reference=found,
    )  # fmt: skip


REFERENCE = reference()


class Inputs:
    """The inputs of `d`, watched hour by hour; what was found, with the hours since the beginning."""

    def __init__(self, judged_to_s: float = float("-inf")) -> None:
        self.references = References()
        self.references.add(registered(found=REFERENCE))
        self.watch = InputWatch("d", DAY, "inference.decisions.v1", self.references, judged_to_s)
        self.open: dict[str, FindingOpened] = {}
        self.opened: list[FindingOpened] = []
        self.over: list[str] = []
        self.ended: list[FindingOver] = []
        self.offset = 0

    def take(self, decisions: list[DecisionMade]) -> None:
        for one in decisions:
            self.watch.add(one, one.at_s // DAY * DAY, 0, self.offset)
            self.offset += 1

    def look(self, clock_s: float, now_s: float = 0.0) -> Seen:
        self.watch.is_due(clock_s, now_s)
        seen = self.watch.look(clock_s, clock_s, now_s, self.open)
        for change in seen.changes:
            if isinstance(change, FindingOpened):
                self.open[key_of(change)] = change
                self.opened.append(change)
            else:
                del self.open[change.key]
                self.over.append(change.key)
                self.ended.append(change)
        return seen

    def play(self, from_s: float, to_s: float, change=None) -> None:
        """The requests of whole hours, each of which is looked at when it is over."""
        for hour_s in np.arange(from_s, to_s, HOUR).tolist():
            self.take(decisions(hour_s, hour_s + HOUR, change))
            self.look(hour_s + HOUR)

    def found(self) -> list[tuple[str, str, str]]:
        """Kind, subject and detector of what was found."""
        return [(found.kind, found.about, found.detector) for found in self.opened]


def decisions(from_s: float, to_s: float, change=None) -> list[DecisionMade]:
    at_s, matrix = rows(from_s, to_s)
    if change is not None:
        change(matrix)
    scores = np.random.default_rng([9, int(from_s)]).beta(2, 5, len(at_s)).tolist()
    return [
        DecisionMade(
            f"r{int(at * 10)}", "d", f"u{int(at * 10)}", at, Served(Score(1, "m", score)), 0, row.tobytes(), "s"
        )
        for at, row, score in zip(at_s.tolist(), matrix, scores, strict=True)
    ]


def refused(from_s: float, to_s: float, share: float, field: str = "miles") -> list[DecisionMade]:
    """The same requests, of which the first ones are refused for a field."""
    found = decisions(from_s, to_s)
    for n in range(int(share * len(found))):
        one = found[n]
        found[n] = DecisionMade(one.request_id, "d", one.unit, one.at_s, Invalid("it must be a number", field), 0)
    return found
