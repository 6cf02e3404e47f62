"""Sample requests for a model: a file of inputs, with each row checked against the deployment's contract first.

CSV (also `.tsv`, `.gz`), Parquet, or JSON lines with an object of inputs each. Columns that are not inputs are ignored, because such files often hold more.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.errors import Misconfigured
from headrace.events.definition import DeploymentDefinition
from headrace.events.inference import Scalar
from headrace.features.rows import check_inputs
from headrace_cli.tables import cells
from headrace_cli.tables import files as tables

MOST_ROWS = 10_000
_JSON = (".jsonl", ".ndjson")
_READ = {"number": cells.number, "category": cells.text, "key": cells.scalar}


@dataclass(frozen=True)
class Requests:
    """Inputs of requests, in the file's order."""

    inputs: Sequence[Mapping[str, Scalar]] = ()

    def words(self, categories: Sequence[str]) -> dict[str, set[str]]:
        """The words of each of `categories` in the sample."""
        return {name: {str(found[name]) for found in self.inputs if found.get(name) is not None} for name in categories}


def read_requests(path: Path, deployment: DeploymentDefinition) -> Requests:
    """The first `MOST_ROWS` requests of a file. Raises `Misconfigured` naming the row and the field that breaks the contract."""
    if path.suffix.lower() == ".json":
        raise Misconfigured(
            f"{path} is one JSON value: write one object of inputs per line, and name the file .jsonl (or use .csv, .tsv, .parquet)"
        )
    found: list[dict[str, Scalar]] = []
    for place, inputs in (
        _json_rows(path, deployment) if path.suffix.lower() in _JSON else _table_rows(path, deployment)
    ):
        invalid = check_inputs(deployment, inputs)
        if invalid is not None:
            raise Misconfigured(f"{path}, {place}: {invalid.reason}")
        found.append(inputs)
        if len(found) == MOST_ROWS:
            break
    if not found:
        raise Misconfigured(f"{path} holds no rows: give requests as {deployment.name} gets them, one per line")
    return Requests(found)


def _table_rows(path: Path, deployment: DeploymentDefinition) -> Iterator[tuple[str, dict[str, Scalar]]]:
    table = tables.Table(path)
    wanted = [field for field in deployment.inputs if field.name in table.columns or not field.nullable]
    for row in table.rows([tables.Column(field.name, _READ[field.kind]) for field in wanted]):
        place = f"{table.place} {row.line}"
        if isinstance(row, tables.BadRow):
            raise Misconfigured(f"{path}, {place}: {row.reason}")
        yield place, dict(zip([field.name for field in wanted], row.cells, strict=True))


def _json_rows(path: Path, deployment: DeploymentDefinition) -> Iterator[tuple[str, dict[str, Any]]]:
    names = [field.name for field in deployment.inputs]
    try:
        with path.open(encoding="utf-8") as opened:
            for line, text in enumerate(opened, start=1):
                if text.strip():
                    yield f"line {line}", _inputs_of(text, f"{path}, line {line}", names)
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"cannot read {path}: {error}") from None


def _inputs_of(text: str, place: str, names: Sequence[str]) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Misconfigured(f'{place} is not a JSON object of inputs, such as {{"{names[0]}": ...}}')
    return {name: value for name, value in found.items() if name in names}
