"""How one metric of a rollout's verdict is told: what the test has shown where it has, else its value beside the limit."""

from headrace.events.verdicts import Evidence


def told(found: Evidence) -> str:
    """As a person reads it.

    >>> told(Evidence("errors", "guardrail", "FAIL", 1.0, 0.02, "50 of 50 raised"))
    'errors 1 against a limit of 0.02 (50 of 50 raised)'
    >>> told(Evidence("errors", "guardrail", "FAIL", 1.0, 0.02, "50 of 50", bound="over 0.02 above its control's share, 98.8 % sure"))
    "errors: over 0.02 above its control's share, 98.8 % sure (50 of 50)"
    """
    detail = f" ({found.detail})" if found.detail else ""
    if found.bound:
        return f"{found.metric}: {found.bound}{detail}"
    measured = "unmeasured" if found.measured is None else f"{found.measured:.4g}"
    limit = "" if found.limit is None else f" against a limit of {found.limit:.4g}"
    return f"{found.metric} {measured}{limit}{detail}"
