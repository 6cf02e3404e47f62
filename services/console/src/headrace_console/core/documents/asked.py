"""What is asked for one at a time."""

from typing import Any, Literal

import msgspec

from headrace_console.core.documents.timeline import TimelineStep


class Found(msgspec.Struct, frozen=True):
    """A hit of the search (`GET /api/v1/find?q=...`)."""

    kind: Literal["deployment", "version", "finding", "alert", "decision", "unit", "page"]
    text: str
    link: str
    detail: str = ""


class RecordView(msgspec.Struct, frozen=True):
    """A record (`GET /api/v1/records/TOPIC/PARTITION/OFFSET`), decoded with limits. `cause`: the place of its cause."""

    place: str
    type: str
    id: str
    key: str
    at_s: float
    appended_s: float
    value: Any
    headers: dict[str, str]
    cause: str = ""


class DecisionView(msgspec.Struct, frozen=True):
    """A decision explained (`GET /api/v1/decisions/DEPLOYMENT/WANTED`, a request id or unit).

    `answer`, `row`: as `headrace explain --json` prints them. `why`: the chain of causes of the route, newest first.
    """

    deployment: str
    request_id: str
    unit: str
    at_s: float
    answer: dict[str, Any]
    assigned: int | None
    failed: dict[str, str]
    shadows: dict[str, Any]
    row: dict[str, Any]
    missing: tuple[str, ...]
    stale: tuple[str, ...]
    entities: dict[str, str]
    source_offsets: dict[str, int]
    outcome: Any
    recovered: bool
    place: str
    request_place: str
    code_version: str
    why: tuple[TimelineStep, ...] = ()
