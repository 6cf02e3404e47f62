"""Verdicts: not knowing is not failing, and "not failed" is not "passed"."""

from collections.abc import Iterable

PASS, INCONCLUSIVE, UNMEASURED, FAIL = "PASS", "INCONCLUSIVE", "UNMEASURED", "FAIL"
_ORDER = {PASS: 0, INCONCLUSIVE: 1, UNMEASURED: 2, FAIL: 3}


def worst(verdicts: Iterable[str]) -> str:
    """The verdict over several: the worst of them; PASS over none.

    >>> worst([PASS, UNMEASURED, INCONCLUSIVE])
    'UNMEASURED'
    """
    return max(verdicts, key=_ORDER.__getitem__, default=PASS)
