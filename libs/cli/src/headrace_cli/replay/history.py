"""Reads a file's rows as requests and outcomes, by the mapping of its columns.

A column with the name of an input is that input. `known` is a column, or a duration after the request (`+1h`). A row
whose cells cannot be read is reported with its line, counted and left out. A row that breaks the deployment's contract is sent,
as a live request would be, and is answered `invalid`.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from headrace.asking.requests import MAX_TEXT_CHARS
from headrace.durations import seconds
from headrace.errors import Misconfigured
from headrace.events.definition import DeploymentDefinition, InputDefinition
from headrace.features.outcomes import SKEW_S
from headrace.instants import why_not
from headrace.project.labels import why_not_label
from headrace_cli.replay.spool import Asked, Event, Known, Spool
from headrace_cli.tables import cells
from headrace_cli.tables.files import BadRow, Column, Row, Table

MOST_REASONS = 5
_LONGEST_S = 100 * 366 * 86_400.0

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Mapping:
    """The mapping of columns. `known`: a column, or `+DURATION` after the request; None with `label` for requests alone."""

    unit: str
    at: str
    label: str | None = None
    known: str | None = None

    @property
    def known_after_s(self) -> float | None:
        """The duration that `known` is; None if it is a column."""
        if self.known is None or not self.known.startswith("+"):
            return None
        try:
            found = seconds(self.known[1:])
        except (Misconfigured, ValueError) as error:
            raise Misconfigured(f"--known takes a column, or a duration such as +1h: {error}") from None
        if not 0 <= found <= _LONGEST_S:
            raise Misconfigured(f"--known must lie within a century after the request, got {self.known}")
        return found


@dataclass
class Counted:
    """The counts of a history. `beyond`: labels that became known after the horizon; `unknown`: labels without an instant."""

    rows: int = 0
    bad: int = 0
    labelled: int = 0
    beyond: int = 0
    unknown: int = 0
    reasons: list[str] = field(default_factory=list)


class History:
    """The rows of a table for a deployment. If the two do not fit, `Misconfigured` is raised before a row is read."""

    def __init__(self, table: Table, deployment: DeploymentDefinition, mapping: Mapping, now_s: float) -> None:
        self.table, self._deployment, self._mapping, self._now_s = table, deployment, mapping, now_s
        _refuse_halves(deployment, mapping)
        self._after_s = mapping.known_after_s
        self.inputs = [found for found in deployment.inputs if found.name in table.columns]
        self._columns = self._wanted()
        table.need([column.name for column in self._columns])
        missing = [found for found in deployment.inputs if found.name not in table.columns]
        needed = [found.name for found in missing if not found.nullable]
        if needed:
            raise Misconfigured(
                f"{table.path} has no column for the input {', '.join(needed)} of {deployment.name}; its other columns are"
                f" {', '.join(self.surplus) or 'none'}: rename the right column, or declare the input nullable"
            )
        self.absent = [found.name for found in missing]

    @property
    def surplus(self) -> list[str]:
        """Columns that nothing reads."""
        read = {column.name for column in self._columns}
        return [name or "(no name)" for name in self.table.columns if name not in read]

    def notes(self) -> Iterator[str]:
        """Messages for the user about the columns."""
        if self.absent:
            yield f"inputs without a column, sent as missing: {', '.join(self.absent)}"
        if self.surplus:
            yield f"columns that are not inputs, not used: {', '.join(self.surplus)}"

    def fill(self, spool: Spool[Event], progress: Callable[[int], None]) -> Counted:
        """Read every row into `spool`; `progress` gets the number of rows read."""
        counted = Counted()
        for row in self.table.rows(self._columns):
            counted.rows += 1
            reason = row.reason if isinstance(row, BadRow) else self._take(row, spool, counted)
            if reason is not None:
                counted.bad += 1
                if counted.bad <= MOST_REASONS:
                    counted.reasons.append(f"{self.table.path}, {self.table.place} {row.line}: {reason}")
            if counted.rows % 1000 == 0:
                progress(counted.rows)
        progress(counted.rows)
        return counted

    def _wanted(self) -> list[Column]:
        mapping = self._mapping
        columns = [Column(mapping.unit, cells.text), Column(mapping.at, cells.instant)]
        if mapping.label is not None:
            declared = self._deployment.label
            columns.append(Column(mapping.label, cells.label_among(declared.classes if declared else ())))
            if self._after_s is None:
                columns.append(Column(mapping.known or "", cells.instant))
        return columns + [Column(found.name, _reader(found)) for found in self.inputs]

    def _take(self, row: Row, spool: Spool[Event], counted: Counted) -> str | None:
        """Put a row's events into the spool; returns the reason if it cannot be."""
        unit, at_s, label, known_s, values = self._split(row.cells)
        reason = self._why_not_request(unit, at_s) or self._why_not_outcome(at_s, label, known_s)
        if reason is not None:
            return reason
        inputs = {found.name: value for found, value in zip(self.inputs, values, strict=True) if value is not None}
        spool.add(Asked(at_s, 0, row.number, unit, inputs))
        if label is not None and known_s is not None:
            counted.labelled += 1
            counted.beyond += known_s > at_s + self._horizon_s
            spool.add(Known(known_s, 0, row.number, unit, label, (0, row.number)))
        counted.unknown += label is not None and known_s is None
        return None

    def _split(self, cells: Sequence) -> tuple:
        unit, at_s = cells[:2]
        if self._mapping.label is None:
            return unit, at_s, None, None, cells[2:]
        if self._after_s is None:
            return unit, at_s, cells[2], cells[3], cells[4:]
        return unit, at_s, cells[2], None if at_s is None else at_s + self._after_s, cells[3:]

    @property
    def _horizon_s(self) -> float:
        return self._deployment.label.horizon_s if self._deployment.label else math.inf

    def _why_not_request(self, unit: str | None, at_s: float | None) -> str | None:
        if unit is None:
            return f"{self._mapping.unit} is missing: a request needs a unit"
        if len(unit) > MAX_TEXT_CHARS:
            return f"{self._mapping.unit} may have {MAX_TEXT_CHARS} characters at most, got {len(unit)}"
        if at_s is None:
            return f"{self._mapping.at} is missing: a request needs an instant"
        return why_not(at_s, round(self._now_s * 1000), self._mapping.at)

    def _why_not_outcome(self, at_s: float, label: float | str | bool | None, known_s: float | None) -> str | None:
        declared = self._deployment.label
        if label is None or declared is None:
            return None
        reason = why_not_label(declared, label)
        if reason is not None or known_s is None:
            return reason
        if known_s < at_s - SKEW_S:
            return f"its label is known {at_s - known_s:,.0f} s before it is asked: is {self._mapping.known} right?"
        return why_not(known_s, round(self._now_s * 1000), self._mapping.known or "known")


def _refuse_halves(deployment: DeploymentDefinition, mapping: Mapping) -> None:
    if mapping.known is not None and mapping.label is None:
        raise Misconfigured("--known is when labels became known: give --label COLUMN too")
    if mapping.label is None:
        return
    if deployment.label is None:
        raise Misconfigured(f"{deployment.name} declares no label: omit --label, or declare one and apply it")
    if mapping.known is None:
        raise Misconfigured(
            "--label needs --known: the column of the instant at which a label became known, or +1h after the request"
        )


def _reader(found: InputDefinition) -> cells.Read:
    return cells.number if found.kind == "number" else cells.text
