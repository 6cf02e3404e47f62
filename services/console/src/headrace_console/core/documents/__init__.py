"""What the page shows: one Struct per document, the contract between the service and the page.

A document has a key, and the page subscribes to keys. After its first snapshot only what changed is sent, as a merge
patch (RFC 7386); so whatever changes alone is a map by id, never a list. The TypeScript types of the page are generated
from this module (`make schemas`).

key                      | document
-------------------------|------------------------------------------------------------------
`now`                    | `Now`: is all well, what needs a person, the table of deployments
`deployment/NAME`        | `Deployment`
`series/NAME`            | `Series`: the charts of a deployment
`timeline/NAME`          | `Timeline`
`monitoring/NAME`        | `Monitoring`: charts, estimates, columns, the ledger of pages, a back-test
`version/NAME/NUMBER`    | `Version`
`finding/NAME/ID`        | `Finding`
`alerts`                 | `Alerts`
`dead-letters`           | `DeadLetters`
`features`               | `Features`
`services`               | `Services`

Conventions. `*_at_s`, `*_s` of instants: seconds since the epoch; `clock` says which time, `event` or `wall`. Shares lie in
0..1. None means that a value is not known, and a `why` beside it says why; a merge patch cannot set it, so on the page a
field that is absent means the same as null. A `place` is `topic/partition/offset` with the
topic's base name (`registry.facts/0/17`). A `link` is a path of the page (`/deployments/flights/findings/ab12`).
"""

import msgspec

from headrace_console.core.documents.acting import Act, ActDone, Me, Offer
from headrace_console.core.documents.asked import DecisionView, Found, RecordView
from headrace_console.core.documents.deployment import (
    Deployment,
    EvidenceRow,
    FindingRow,
    RolloutView,
    RouteShare,
    VersionRow,
)
from headrace_console.core.documents.monitoring import (
    ChartSeen,
    ColumnRow,
    EstimateSeen,
    MonitoredWindow,
    Monitoring,
)
from headrace_console.core.documents.now import DeploymentRow, Need, Now, Quality, RolloutBrief
from headrace_console.core.documents.operating import (
    AlertRow,
    Alerts,
    DeadLetterRow,
    DeadLetters,
    Edge,
    Features,
    ServiceRow,
    Services,
    SilenceRow,
    SourceRow,
    Stop,
    ViewRow,
)
from headrace_console.core.documents.series import Series, SeriesMark, Threshold, TrafficPoint, WindowPoint
from headrace_console.core.documents.timeline import Episode, Timeline, TimelineStep
from headrace_console.core.documents.version import Column, Finding, GateRow, Version
from headrace_console.core.documents.words import ActName, Clock, Mark, Role

Document = (
    Now | Deployment | Series | Timeline | Monitoring | Version | Finding | Alerts | DeadLetters | Features | Services
)  # fmt: skip
ALL: tuple[type[msgspec.Struct], ...] = (
    Now, Deployment, Series, Timeline, Monitoring, Version, Finding, Alerts, DeadLetters, Features, Services,
    Found, RecordView, DecisionView, Act, ActDone, Me,
)  # fmt: skip

__all__ = [
    "ALL",
    "Act",
    "ActDone",
    "ActName",
    "AlertRow",
    "Alerts",
    "ChartSeen",
    "Clock",
    "Column",
    "ColumnRow",
    "DeadLetterRow",
    "DeadLetters",
    "DecisionView",
    "Deployment",
    "DeploymentRow",
    "Document",
    "Edge",
    "Episode",
    "EstimateSeen",
    "EvidenceRow",
    "Features",
    "Finding",
    "FindingRow",
    "Found",
    "GateRow",
    "Mark",
    "Me",
    "MonitoredWindow",
    "Monitoring",
    "Need",
    "Now",
    "Offer",
    "Quality",
    "RecordView",
    "Role",
    "RolloutBrief",
    "RolloutView",
    "RouteShare",
    "Series",
    "SeriesMark",
    "ServiceRow",
    "Services",
    "SilenceRow",
    "SourceRow",
    "Stop",
    "Threshold",
    "Timeline",
    "TimelineStep",
    "TrafficPoint",
    "Version",
    "VersionRow",
    "ViewRow",
    "WindowPoint",
]
