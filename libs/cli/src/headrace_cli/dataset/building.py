"""Builds `rows.parquet` and `manifest.json` from the log."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from headrace.errors import Misconfigured
from headrace.features.dataset import Gathered, Rows
from headrace.features.entities import text_of
from headrace.features.row_cache.gathering import Gathering
from headrace.log.envelope import format_instant
from headrace.log.port import TopicPartition
from headrace.log.reading import pin_offsets
from headrace_cli.session import Session


@dataclass(frozen=True)
class Wanted:
    """Rows of `deployment` whose instants lie in [from_s, to_s); `offsets`: up to which to read, None for the current ends.

    `topic_ids`: ids of the topics of the offsets, by name without the namespace, if known. `known_by_s`: labels as they
    were known then; None for the horizon after the end, or now if that is earlier.
    """

    deployment: str
    from_s: float
    to_s: float
    offsets: Mapping[str, int] | None = None
    topic_ids: Mapping[str, str] = field(default_factory=dict)
    known_by_s: float | None = None


async def build_dataset(
    session: Session, wanted: Wanted, folder: Path, progress: Callable[[float], None]
) -> dict[str, Any]:
    """Write the rows to `folder` and return the manifest."""
    gathering = Gathering(
        session.log, session.codec, lambda: _gathered(session, wanted), folder / ".cache", forgets=False
    )
    try:
        return await _built(session, wanted, folder, progress, gathering)
    finally:
        gathering.close()


async def _built(
    session: Session, wanted: Wanted, folder: Path, progress: Callable[[float], None], gathering: Gathering
) -> dict[str, Any]:
    await gathering.begin()
    ids = {session.topics.base(name): found for name, found in gathering.topic_ids.items()}
    _refuse_others(wanted, ids)
    ends = await _ends(session, wanted, gathering.gathered)
    if any(gathering.starts[tp] > end for tp, end in ends.items()):
        raise Misconfigured(f"{folder} holds newer rows than the manifest: choose another --out")

    def progressed(done: int, total: int) -> None:
        progress(done / max(total, 1))

    read = await gathering.read(ends, progressed)
    offsets = {f"{session.topics.base(tp.topic)}/{tp.partition}": end for tp, end in sorted(ends.items())}
    rows = gathering.gathered.rows(offsets)
    return _write(gathering.gathered, rows, folder, wanted, read, ids)


def _gathered(session: Session, wanted: Wanted) -> Gathered:
    found = session.projects.deployment(wanted.deployment)
    if found is None:
        known = ", ".join(sorted(deployment.name for _, deployment in session.projects.deployments())) or "none"
        raise Misconfigured(f"no applied project declares {wanted.deployment!r}; there are: {known}")
    project, deployment = found
    horizon_s = deployment.label.horizon_s if deployment.label else 0.0
    known_by_s = (
        min(wanted.to_s + horizon_s, float(int(session.clock.now_s())))
        if wanted.known_by_s is None
        else wanted.known_by_s
    )
    return Gathered(project, deployment, session.topics, wanted.from_s, wanted.to_s, known_by_s)


def _refuse_others(wanted: Wanted, ids: Mapping[str, str]) -> None:
    again = sorted(name for name, found in wanted.topic_ids.items() if found and ids.get(name) not in ("", found))
    if again:
        raise Misconfigured(
            f"{', '.join(again)}: deleted and created again since the manifest was written, or of another log; its rows no longer exist"
        )


async def _ends(session: Session, wanted: Wanted, gathered: Gathered) -> dict[TopicPartition, int]:
    ends = await pin_offsets(session.log, gathered.topic_names())
    if wanted.offsets is None:
        return ends
    asked = {tp: wanted.offsets.get(f"{session.topics.base(tp.topic)}/{tp.partition}") for tp in ends}
    if None in asked.values():
        raise Misconfigured("the manifest names partitions that this log does not have: it was made from another log")
    short = [tp for tp, end in asked.items() if end is not None and end > ends[tp]]
    if short:
        raise Misconfigured(
            f"{short[0].topic}/{short[0].partition} ends at {ends[short[0]]}, before the manifest's offset"
        )
    return {tp: int(end or 0) for tp, end in asked.items()}


def _write(
    gathered: Gathered, rows: Rows, folder: Path, wanted: Wanted, read: int, ids: Mapping[str, str]
) -> dict[str, Any]:
    signature = rows.signature(gathered.project, gathered.deployment)
    columns = _columns(gathered, rows, rows.matrix(gathered.deployment, signature))
    folder.mkdir(parents=True, exist_ok=True)
    frame = pl.DataFrame(columns)
    frame.write_parquet(folder / "rows.parquet")
    manifest = {
        "deployment": wanted.deployment,
        "from": format_instant(wanted.from_s),
        "to": format_instant(wanted.to_s),
        "rows": len(rows),
        "labelled": int((~np.isnan(rows.labels)).sum()),
        "known_by": format_instant(gathered.clock_s),
        "outcomes": gathered.outcomes(),
        "digest": digest_of_columns(columns),
        "columns": {name: str(dtype) for name, dtype in frame.schema.items()},
        "offsets": rows.offsets,
        "topic_ids": dict(sorted(ids.items())),
        "definition_digest": gathered.deployment.digest,
        "views": {b.view: b.key for b in gathered.deployment.features},
        "feature_delay_s": gathered.deployment.feature_delay_s,
        "vocabularies": {c.name: list(c.vocabulary) for c in signature.columns if c.vocabulary is not None},
        "records_read": read,
        "made_by": f"headrace {version('headrace')}",
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    return manifest


def _columns(gathered: Gathered, rows: Rows, matrix: np.ndarray) -> dict[str, pl.Series]:
    """Request, label and inputs as received; derived columns and features as the model sees them, in float32."""
    inputs = gathered.deployment.inputs
    columns = {
        "request_id": pl.Series(rows.ids, dtype=pl.String),
        "unit": pl.Series(rows.units, dtype=pl.String),
        "at": pl.Series((rows.at_s * 1e6).round().astype(np.int64)).cast(pl.Datetime("us", "UTC")),
        "label": pl.Series(rows.labels).fill_nan(None),
    }
    for found in inputs:
        values = list(rows.inputs.column(found.name))
        columns[found.name] = (
            pl.Series([None if v is None else float(v) for v in values], dtype=pl.Float64)
            if found.kind == "number"
            else pl.Series([None if v is None else text_of(v) for v in values], dtype=pl.String)
        )
    own = sum(found.kind != "key" for found in inputs)
    names = [d.name for d in gathered.deployment.derived]
    names += [
        f"{b.view}.{f.name}" for b in gathered.deployment.features for f in gathered.project.view(b.view).features
    ]
    for place, name in enumerate(names):
        columns[name] = pl.Series(np.ascontiguousarray(matrix[:, own + place]))
    return columns


def digest_of_columns(columns: Mapping[str, pl.Series]) -> str:
    """A digest of names, types and values in order, whatever library or version wrote the file."""
    found = hashlib.blake2b(digest_size=16)
    for name, series in columns.items():
        found.update(f"{name}\0{series.dtype}\0{len(series)}\0".encode())
        if series.dtype == pl.String:
            found.update("\0".join("\1" if value is None else value for value in series).encode())
        else:
            physical = series.to_physical()
            found.update(np.packbits(physical.is_null().to_numpy()).tobytes())
            found.update(np.ascontiguousarray(physical.fill_null(0).to_numpy()).tobytes())
    return found.hexdigest()
