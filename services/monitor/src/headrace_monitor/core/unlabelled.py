"""When too few labels come: windows in a row that could not be judged are a finding, for nothing else can be found meanwhile."""

from headrace.events.monitor import FindingOpened, WindowClosed
from headrace.log.envelope import derived_id

KIND = "labels"
# One window may lack them by chance, or since they come late.
WINDOWS = 3


def labels_missing(window: WindowClosed, windows: int, at_s: float) -> FindingOpened:
    """The finding. `windows`: so many in a row lacked labels, `window` is the newest."""
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
