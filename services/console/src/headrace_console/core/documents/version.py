"""A version and a finding, whole."""

from typing import Any

import msgspec

from headrace.events.monitor import FindingEvidence
from headrace_console.core.documents.acting import Offer
from headrace_console.core.documents.deployment import FindingRow, VersionRow


class GateRow(msgspec.Struct, frozen=True):
    """A gate's result. `waived_by`: who let the version pass although it failed."""

    gate: str
    verdict: str
    measured: float | None
    limit: float | None
    artifact: str
    detail: str
    waived_by: str = ""


class Column(msgspec.Struct, frozen=True):
    """A column of the signature. `values`: the number of known values of a category, None for a number."""

    name: str
    values: int | None


class Version(msgspec.Struct, frozen=True):
    """A version: its card (Markdown without HTML), gates, lineage and slices."""

    row: VersionRow
    deployment: str
    model_digest: str
    artifact_digest: str
    size_bytes: int
    format: str
    card: str
    gates: dict[str, GateRow]
    lineage: dict[str, Any]
    slices: dict[str, dict[str, float]]
    columns: tuple[Column, ...]
    tags: dict[str, str]
    place: str
    owner: str = ""
    offers: tuple[Offer, ...] = ()


class Finding(msgspec.Struct, frozen=True):
    """A finding: what moved, since when, what was done. `evidence`: what it rests on, with places as links need them; None
    in records from before it was recorded. `compared`: what the figures of its segment are.
    """

    row: FindingRow
    deployment: str
    place: str
    changed_at_s: float | None
    window_from_s: float | None
    window_to_s: float | None
    back_at: float | None
    resolved: str
    metric: str = ""
    values: dict[str, float | None] = {}
    episode: str = ""
    runbook: str = ""
    severity: str = "warning"
    evidence: FindingEvidence | None = None
    compared: str = ""
