"""What the report of an instance says against it although it may be ready: the same words in the terminal and on the page."""

from headrace.events.ops import HealthReported

_ONE_LINE = 200
_UNDONE = {1: "shadows do not score", 2: "the baseline is not asked"}


def faults_of(report: HealthReported) -> list[str]:
    """The faults that do not prevent readiness, each in one line.

    >>> faults_of(HealthReported("inference", "i-1", True, overload={"delay": 1}))
    ['delay sheds load: shadows do not score']
    """
    return [
        *(f"breaker of {place} {one_line(text)}" for place, text in sorted(report.breakers.items())),
        *(
            f"{name} sheds load: {_UNDONE.get(level, 'requests are refused')}"
            for name, level in sorted(report.overload.items())
        ),
        *(f"{name} is degraded: {one_line(why)}" for name, why in sorted(report.degraded.items())),
        *(
            f"{count} {'call' if count == 1 else 'calls'} of {place} will not return and may use a core each: a restart ends them"
            for place, count in sorted(report.hung_calls.items())
        ),
        *_over_bound(report),
    ]


def _over_bound(report: HealthReported) -> list[str]:
    limits = report.state_limits
    over = [(name, size) for name, size in sorted(report.state_bytes.items()) if size > limits.get(name, size)]
    return [f"state {name} holds {size:,} bytes, over its bound of {limits[name]:,}" for name, size in over]


def one_line(text: str, most: int = _ONE_LINE) -> str:
    """The first line of a text, shortened if it is long, to fit into a cell.

    >>> one_line("could not convert\\n\\nSee the documentation: ...")
    'could not convert'
    """
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return first if len(first) <= most else f"{first[: most - 4].rstrip()} ..."
