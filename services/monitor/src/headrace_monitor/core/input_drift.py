"""Whether the inputs and scores of a window look like those of the training rows: what moved makes a finding, and never a page.

A column has moved where its p-value is small (1 %, Benjamini and Hochberg over all columns of the version; the p-value knows how
many rows there are, and how far one block of training rows lies from the others) and its PSI is at least .1. A fixed PSI
alone would find something in every window: on the flights of January to March days lie .1 away from the training rows in
their streaming features and in the weather on all days, though nothing is wrong.

A window in which the version answered for a part of the time only is not judged: its hours are not those of whole days.

A finding is about the columns that began to move in a window; columns that move later have a finding of their own. It is over
after two windows in a row in which none of its columns has moved.
"""

from collections.abc import Sequence

import msgspec
import numpy as np

from headrace.events.charts import ColumnSeen
from headrace.events.monitor import FindingEvidence, FindingOpened, Moved
from headrace.log.envelope import derived_id
from headrace.stats.distances import Dependence, benjamini_hochberg, chi_square, p_value, psi
from headrace.stats.distinct import count_of
from headrace.stats.profiles import Profile
from headrace.stats.sketches import ks_of
from headrace_monitor.core.references import VersionFrame

KIND = "inputs"
FALSE_SHARE = 0.01
LEAST_PSI = 0.1
QUIET_WINDOWS = 2
_SHOWN = 5


def seen(profile: Profile, frame: VersionFrame) -> tuple[ColumnSeen, ...]:
    """The columns of a profile beside the reference, in the reference's order, the scores last."""
    reference, rows = frame.reference, float(frame.reference.rows)
    found = []
    for place, column in enumerate(frame.frame.columns):
        counts, shares = profile.bins_of(place), np.array(column.shares)
        there = int(counts.sum())
        # NB: half a row more per bin: what training never had is seldom, not impossible.
        smooth = (shares * rows + 0.5) / (rows + 0.5 * len(shares))
        statistic, freedom = (float(one) for one in chi_square(counts, smooth, rows))
        usual = Dependence(column.spread, float("inf") if column.tail is None else column.tail, reference.block_rows)
        null_share = float(profile.nulls[place]) / profile.rows if profile.rows else 0.0
        is_number = column.kind == "number"
        sketch = b"" if profile.sketches is None or not is_number else profile.sketches.of(place)
        distinct = None if profile.distinct is None else profile.distinct.of(place)
        found.append(
            ColumnSeen(
                column.name,
                frame.version,
                profile.rows,
                null_share,
                psi(shares, counts),
                ks_of(column.sketch, sketch) if is_number else None,
                statistic,
                p_value(statistic, int(freedom), there, usual),
                is_moved=False,
                unknown_share=0.0 if is_number else null_share,
                sketch=sketch,
                distinct=None if distinct is None else count_of(distinct),
                usual_distinct=count_of(column.distinct_sketch) if column.distinct_sketch else None,
                distinct_sketch=distinct or b"",
            )
        )
    return _marked(found)


def without_sketches(columns: Sequence[ColumnSeen]) -> tuple[ColumnSeen, ...]:
    """The columns with all that is said of them, less what would merge with other windows."""
    return tuple(msgspec.structs.replace(column, sketch=b"", distinct_sketch=b"") for column in columns)


def _marked(columns: Sequence[ColumnSeen]) -> tuple[ColumnSeen, ...]:
    """With what has moved, once all columns are known."""
    if not columns:
        return ()
    small = benjamini_hochberg([column.p_value for column in columns], FALSE_SHARE)
    return tuple(
        msgspec.structs.replace(column, is_moved=bool(is_small) and column.psi >= LEAST_PSI)
        for column, is_small in zip(columns, small, strict=True)
    )


def unmoved(columns: Sequence[ColumnSeen]) -> tuple[ColumnSeen, ...]:
    """The columns, none of which counts as moved."""
    return tuple(msgspec.structs.replace(column, is_moved=False) for column in columns)


def finding_of(
    deployment: str, columns: Sequence[ColumnSeen], from_s: float, to_s: float, place: str = ""
) -> FindingOpened:
    """The finding of a window in which columns have moved, about the most improbable one, which comes first."""
    moved = sorted((column for column in columns if column.is_moved), key=lambda column: (column.p_value, -column.psi))
    named = ", ".join(f"{column.column} (PSI {column.psi:.2f})" for column in moved[:_SHOWN])
    more = f" and {len(moved) - _SHOWN} more" if len(moved) > _SHOWN else ""
    return FindingOpened(
        finding=derived_id(deployment, KIND, moved[0].column, from_s)[:16],
        deployment=deployment,
        kind=KIND,
        summary=f"inputs moved away from the training rows: {named}{more}",
        at_s=to_s,
        version=moved[0].version,
        detector="psi",
        measured=moved[0].psi,
        limit=LEAST_PSI,
        window_from_s=from_s,
        window_to_s=to_s,
        about=moved[0].column,
        changed_at_s=from_s,
        severity="info",
        group=KIND,
        evidence=FindingEvidence(
            first_place=place,
            first_at_s=from_s,
            moved=tuple(Moved(column.column, "psi", column.psi) for column in moved),
        ),
    )


def columns_of(found: FindingOpened) -> tuple[str, ...]:
    """The columns that a finding of this kind is about."""
    return () if found.evidence is None else tuple(moved.column for moved in found.evidence.moved)
