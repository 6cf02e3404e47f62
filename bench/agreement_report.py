"""The report about agreement, docs/reports/agreement.md, from the figures of one run."""

from collections.abc import Mapping, Sequence

from bench.measure import Row

_HEAD = """# Agreement with peers

Made by `make bench ONLY=agreement`; do not edit by hand. Each row is the largest distance between what the monitor computes and
what the peer computes on the same seeded data, beside the tolerance that was set before. NannyML and Evidently run in environments
of their own (`bench/peers/*.txt`). What is a formula agrees to rounding. Kolmogorov-Smirnov distances and quantiles of sketches lie
within the error of a rank that the sketch states (2.6 % each). Evidently gives the p-value of the Kolmogorov-Smirnov test, which is
inverted here. Columns with an empty bin are left out of PSI: it fills that bin with another share than ours (`make bench ONLY=inputs`).

| figure | peer | apart | tolerance | met |
|---|---|---|---|---|
"""

_CBPE = """
## Estimates before labels come

Both estimate by CBPE: 40 windows of 2,000 labelled rows, then 20 chunks of 2,000 rows without labels. NannyML fits isotonic
regression on rows where that helps, ours an isotonic curve over bins of half a unit of the log-odds in which older windows weigh
less. So they are two estimates of one quantity. The tolerance of a chunk is .01, about one standard error of such a metric by the
chance of its labels; on average .0025. NannyML estimates no log-loss and no Brier score.

| case | metric | our mean error | NannyML's | mean distance between both |
|---|---|---|---|---|
"""


def report(rows: Sequence[Row], errors: Mapping[tuple[str, str], tuple[float, float, float]]) -> str:
    """The whole page, in Markdown. `errors`: see `bench.agreement.Beside`."""
    lines = [
        f"| `{row.name.removeprefix('agreement.')}` | {row.peer} | {row.ours:.2g}{_unit(row)} | {row.demanded} |"
        f" {'yes' if row.met else 'NO'} |"
        for row in rows
    ]
    estimates = [
        f"| {name.replace('_', ' ')} | {metric} | {ours:.4f} | {theirs:.4f} | {between:.4f} |"
        for (name, metric), (ours, theirs, between) in errors.items()
    ]
    short = [f"- `{row.name}`: {row.ours:.3g}, demanded {row.demanded}" for row in rows if not row.met]
    parts = [_HEAD + "\n".join(lines), _CBPE + "\n".join(estimates)]
    if short:
        parts.append("\n## What falls short\n\n" + "\n".join(short))
    return "\n".join(parts) + "\n"


def _unit(row: Row) -> str:
    return "" if row.unit == "apart" else f" {row.unit}"
