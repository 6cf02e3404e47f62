"""When too few labels come: several windows in a row that could not be judged are a finding, as nothing else can be found."""

from headrace.events.monitor import FindingOpened, WindowClosed
from headrace.log.envelope import derived_id

KIND = "labels"
# A single window may lack labels by chance, or because they come late.
WINDOWS = 3


def labels_missing(window: WindowClosed, windows: int, at_s: float) -> FindingOpened:
    """The finding. `window`: the newest one; `windows`: how many in a row lacked labels; `at_s`: event time, in seconds."""
    share = window.labelled / max(window.requests, 1)
    return FindingOpened(
        finding=derived_id(window.deployment, KIND, window.from_s)[:16],
        deployment=window.deployment,
        kind=KIND,
        summary=f"{windows} windows in a row have too few labels to be judged ({window.unmeasured}): no drift is found meanwhile",
        at_s=at_s,
        detector="coverage",
        measured=share,
        window_from_s=window.from_s,
        window_to_s=window.to_s,
    )
