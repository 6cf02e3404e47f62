"""The first page."""

from typing import Literal

import msgspec

from headrace_console.core.documents.acting import Offer
from headrace_console.core.documents.words import Clock, Mark


class Need(msgspec.Struct, frozen=True):
    """A line of what needs a person. `order`: the most pressing first. `link`: the page that explains it.

    `silenced`: an alert that fires and needs nobody while a silence covers it; it is not counted.
    """

    order: int
    mark: Mark
    kind: Literal["page", "warning", "approval", "stopped", "finding", "rollout", "service", "silenced"]
    about: str
    title: str
    detail: str
    since_s: float | None
    clock: Clock
    link: str
    runbook: str = ""
    command: str = ""
    offers: tuple[Offer, ...] = ()


class Quality(msgspec.Struct, frozen=True):
    """The quality of the champion in its newest closed window. `spark`: of the windows before, oldest first.

    `verdict`: of the window. `why`: why it is UNMEASURED (`value` is None then), or why the window is an older one.
    """

    metric: str
    value: float | None
    n: int
    limit: float | None
    is_above: bool
    verdict: str
    why: str
    from_s: float
    to_s: float
    spark: tuple[float | None, ...] = ()


class RolloutBrief(msgspec.Struct, frozen=True):
    """A rollout in one line. `state`: the step, `paused`, `unjudged`, `awaits approval` or `queued`."""

    version: int
    policy: str
    state: str
    share: float
    mark: Mark


class DeploymentRow(msgspec.Struct, frozen=True):
    """A row of the table of deployments.

    `answers_per_s`, `p99_ms`, `fallback_share`, `outcomes`: of the last minute with traffic reports, wall clock; None
    without any. `outcomes`: counts by outcome and step (`served`, `fell_back.previous`, `refused`, ...). `spark`: answers
    per second of the last 30 minutes, one value a minute. `event_at_s`: the deployment's clock.
    """

    name: str
    project: str
    mark: Mark
    champion: int | None
    champion_since_s: float | None
    answers_per_s: float | None = None
    p99_ms: float | None = None
    fallback_share: float | None = None
    outcomes: dict[str, int] = {}
    spark: tuple[float | None, ...] = ()
    quality: Quality | None = None
    drift: Mark = "unknown"
    drift_word: str = ""
    drift_link: str = ""
    rollout: RolloutBrief | None = None
    event_at_s: float | None = None


class Now(msgspec.Struct, frozen=True):
    """The first page. `word`: `all is well`, `all is well, 1 silenced`, `2 things need a person`, or what is not known.

    `event_at_s`: the latest clock of a deployment or source. `needs`: by key. `deployments`: by name. `empty`: `no project` where nothing is applied, else "".
    """

    mark: Mark
    word: str
    event_at_s: float | None
    needs: dict[str, Need] = {}
    deployments: dict[str, DeploymentRow] = {}
    empty: str = ""
