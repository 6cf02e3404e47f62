"""Alerts, dead letters, features and services."""

import msgspec

from headrace_console.core.documents.acting import Offer
from headrace_console.core.documents.words import Mark


class AlertRow(msgspec.Struct, frozen=True):
    """An alert. Its instants are wall clock. `silenced`: until when, by whom and why, "" if it is not."""

    fingerprint: str
    name: str
    severity: str
    mark: Mark
    status: str
    about: str
    summary: str
    starts_s: float
    ends_s: float | None
    command: str
    runbook: str
    silenced: str
    place: str
    labels: dict[str, str] = {}
    offers: tuple[Offer, ...] = ()


class SilenceRow(msgspec.Struct, frozen=True):
    """A silence that is in force or begins later."""

    id: str
    matchers: dict[str, str]
    starts_s: float
    ends_s: float
    by: str
    reason: str
    place: str
    offers: tuple[Offer, ...] = ()


class Alerts(msgspec.Struct, frozen=True):
    """Alerts by fingerprint: firing ones, and the newest resolved ones; silences by id."""

    alerts: dict[str, AlertRow] = {}
    silences: dict[str, SilenceRow] = {}


class DeadLetterRow(msgspec.Struct, frozen=True):
    """A dead letter. `origin`: the place of the record that could not be read. `at_s`: wall clock."""

    service: str
    at_s: float
    origin: str
    reason: str
    size_bytes: int
    place: str


class Stop(msgspec.Struct, frozen=True):
    """A partition that is stopped, with the commands that end the stop."""

    service: str
    place: str
    reason: str
    since_s: float
    commands: tuple[str, ...]


class DeadLetters(msgspec.Struct, frozen=True):
    """The newest dead letters by place, counts per service since the start of the log, and stopped partitions."""

    letters: dict[str, DeadLetterRow] = {}
    counts: dict[str, int] = {}
    stops: dict[str, Stop] = {}


class SourceRow(msgspec.Struct, frozen=True):
    """A source. `newest_event_s`: event time of its newest event contained in the features. `behind_records`: not folded yet.

    `newest_word`: why `newest_event_s` is None, "" if it is not.
    """

    source: str
    project: str
    mark: Mark
    newest_event_s: float | None
    behind_records: int
    late: int
    newest_word: str = ""


class ViewRow(msgspec.Struct, frozen=True):
    """A feature view. `missing_share`: of its features in the newest windows of the deployments that use it, by deployment."""

    view: str
    project: str
    source: str
    entity: str
    features: dict[str, str]
    used_by: tuple[str, ...]


class Features(msgspec.Struct, frozen=True):
    """Sources and feature views, by `project/name`. `missing`: share of missing feature values per deployment."""

    sources: dict[str, SourceRow] = {}
    views: dict[str, ViewRow] = {}
    missing: dict[str, float] = {}


class ServiceRow(msgspec.Struct, frozen=True):
    """An instance of a service. `handled_per_s`: of the last ten seconds. `silent_s`: since its last report."""

    service: str
    instance: str
    mark: Mark
    word: str
    handled_per_s: float | None
    behind_records: int
    silent_s: float
    shards: tuple[int, ...]
    versions: tuple[str, ...]
    started_s: float
    code_version: str
    dead_letters: int
    lag: dict[str, int] = {}
    state_bytes: dict[str, tuple[int, int]] = {}


class Edge(msgspec.Struct, frozen=True):
    """An arrow of the topology: who writes a topic, who reads it, and how far behind the reader is."""

    topic: str
    writer: str
    reader: str
    behind_records: int | None = None


class Services(msgspec.Struct, frozen=True):
    """Instances by `service/instance`, and the topology by `writer topic reader`."""

    instances: dict[str, ServiceRow] = {}
    edges: dict[str, Edge] = {}
