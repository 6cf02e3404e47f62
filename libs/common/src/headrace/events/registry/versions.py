"""What a version consists of: its columns, its bytes, where it comes from, and what was proven of it."""

import msgspec


class ColumnPin(msgspec.Struct, frozen=True):
    """One column of a feature row. `vocabulary`: for a category, its values in code order; None for a number.

    `default`: what stands in the row where there is no value; None for NaN.
    """

    name: str
    vocabulary: tuple[str, ...] | None = None
    default: float | None = None


class Signature(msgspec.Struct, frozen=True):
    """What a version's rows look like: the columns in order. `digest`: of the columns and of the views behind them.

    `frame`: the model wants a frame with names and words instead of the matrix (slower).
    """

    columns: tuple[ColumnPin, ...]
    digest: str
    views_digest: str = ""
    frame: bool = False


class ArtifactPlace(msgspec.Struct, frozen=True):
    """Where an artifact's chunks lie: `registry.artifacts` partition, digest of the bytes, their size and format.

    `first_offset`, `last_offset`: of the first chunk and of the manifest; None where it was published before they were noted,
    and in the manifest itself.
    """

    digest: str
    partition: int
    size_bytes: int
    chunk_count: int
    format: str = "skops"
    first_offset: int | None = None
    last_offset: int | None = None


class ArtifactManifest(msgspec.Struct, frozen=True):
    """Written last, in the same transaction as the chunks: a set of chunks without it is not complete."""

    place: ArtifactPlace


class Lineage(msgspec.Struct, frozen=True):
    """What a version was made from: next offsets of each `topic/partition`, the code, seeds, and the parent version.

    `twin_to_s`: the gated twin (`RegisterVersion.twin`) has seen no row from this instant on. `changed_at_s`: of the change that the version was made to
    follow.
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
    """One gate's word on one artifact. `verdict`: PASS, INCONCLUSIVE, UNMEASURED or FAIL; `artifact`: the model digest measured."""

    gate: str
    verdict: str
    measured: float | None
    limit: float | None
    artifact: str
    detail: str = ""


class Waiver(msgspec.Struct, frozen=True):
    """A named operator lets a version pass a gate that failed, and says why."""

    gate: str
    by: str
    reason: str


class GoldenRow(msgspec.Struct, frozen=True):
    """A row, and what the version answered for it where it was made. `row`: float32 little-endian bytes; `value`: the positive
    class's probability, or the number; `probabilities`: one per class of several, () otherwise. `inputs`: the request that
    the row was made of, None where it was not made of one. An instance that makes another row of it, or scores it otherwise,
    does not serve the version.
    """

    row: bytes
    value: float
    probabilities: tuple[float, ...] = ()
    inputs: dict[str, float | int | str | bool | None] | None = None
