"""What a version consists of: its columns, its artifacts, its lineage, and what was tested."""

import msgspec


class ColumnPin(msgspec.Struct, frozen=True):
    """One column of a feature row. `vocabulary`: the values of a category in code order, None for a number.

    `default`: the value of the row where there is none, None for NaN.
    """

    name: str
    vocabulary: tuple[str, ...] | None = None
    default: float | None = None


class Signature(msgspec.Struct, frozen=True):
    """What a version's rows look like: its columns in order. `digest`: of the columns and of the views behind them.

    `frame`: the model takes a data frame with names and category values instead of a matrix (slower).
    """

    columns: tuple[ColumnPin, ...]
    digest: str
    views_digest: str = ""
    frame: bool = False


class ArtifactPlace(msgspec.Struct, frozen=True):
    """Where an artifact's chunks lie: the partition of `registry.artifacts`, the digest of the bytes, their size and
    format.

    `first_offset`, `last_offset`: the offsets of the first chunk and of the manifest; None in the manifest itself, and
    in older records.
    """

    digest: str
    partition: int
    size_bytes: int
    chunk_count: int
    format: str = "skops"
    first_offset: int | None = None
    last_offset: int | None = None


class ArtifactManifest(msgspec.Struct, frozen=True):
    """The end of an artifact, written in the same transaction as its chunks. Chunks without a manifest are not
    complete.
    """

    place: ArtifactPlace


class Lineage(msgspec.Struct, frozen=True):
    """What a version was made from: the next offset of each `topic/partition`, the code, seeds, and the parent version.

    `twin_to_s`: the gated twin (`RegisterVersion.twin`) was fitted on rows before this instant. `changed_at_s`: the
    instant of the change that the version was made to follow.
    """

    offsets: dict[str, int] = {}
    request_from_s: float = 0.0
    request_to_s: float = 0.0
    code_version: str = ""
    definition_digest: str = ""
    seed: int = 0
    parent: int | None = None
    packages: dict[str, str] = {}
    twin_to_s: float | None = None
    changed_at_s: float | None = None


class GateResult(msgspec.Struct, frozen=True):
    """The result of one gate on one artifact. `verdict`: PASS, INCONCLUSIVE, UNMEASURED or FAIL; `artifact`: the model
    digest.
    """

    gate: str
    verdict: str
    measured: float | None
    limit: float | None
    artifact: str
    detail: str = ""


class Waiver(msgspec.Struct, frozen=True):
    """A named operator lets a version pass a gate that failed, and gives the reason."""

    gate: str
    by: str
    reason: str


class GoldenRow(msgspec.Struct, frozen=True):
    """A row, and the version's answer for it where it was trained.

    `row`: float32 little-endian bytes. `value`: the probability of the positive class, or the number. `probabilities`:
    one per class of several, () otherwise. `inputs`: the request that the row was made from, None where there was none.
    An instance does not serve the version when it makes another row from the request, or scores the row differently.
    """

    row: bytes
    value: float
    probabilities: tuple[float, ...] = ()
    inputs: dict[str, float | int | str | bool | None] | None = None
