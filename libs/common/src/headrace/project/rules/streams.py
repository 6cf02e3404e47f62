"""Rules of raw streams, references and sources: partitions, fields, and when an event may be used."""

from collections.abc import Iterator

from headrace.events import definition as d
from headrace.project.rules import bounds
from headrace.project.rules.sentences import Sentence, at

FIELD_KINDS = ("number", "integer", "text", "flag", "instant")


def raw_rules(raw: d.RawStreamDefinition) -> Iterator[str]:
    """The rules of one raw stream that are broken."""
    what = bounds.named("raw stream", raw.name)
    yield from at(("format",), bounds.one_of(what, "format", raw.format, ("json", "msgpack")))
    yield from at(("partitions",), bounds.count(what, "partitions", raw.partitions, 1, bounds.MOST_PARTITIONS))


def reference_rules(reference: d.ReferenceDefinition) -> Iterator[str]:
    """The rules of one reference that are broken."""
    what = bounds.named("reference", reference.name)
    yield from at(("partitions",), bounds.count(what, "partitions", reference.partitions, 1, bounds.MOST_PARTITIONS))


def source_rules(source: d.SourceDefinition) -> Iterator[str]:
    """The rules of one source that are broken."""
    what = bounds.named("source", source.name)
    kinds = {field.name: field.kind for field in source.fields}
    yield from at(("partitions",), bounds.count(what, "partitions", source.partitions, 1, bounds.MOST_PARTITIONS))
    yield from bounds.count(what, "the number of fields", len(source.fields), 1, bounds.MOST_PARTS)
    if len(kinds) < len(source.fields):
        yield f"{what}: two of its fields have the same name; give each its own"
    for field in source.fields:
        if not field.name.isidentifier() or len(field.name) > 200 or field.name.startswith("__"):
            yield f"{what}: a field's name must be a Python name, got {field.name[:80]!r}"
        yield from bounds.one_of(f"{what}: field {field.name[:80]}", "kind", field.kind, FIELD_KINDS)
    for role, name in (("event_time", source.event_time), ("available_at", source.available_at)):
        if name is not None and kinds.get(name) not in ("instant", "number"):
            yield Sentence(f"{what}: {role}={name[:80]!r} must be a datetime or float field of its event", (role,))
    for role, name in (("dedupe", source.dedupe), ("key", source.key)):
        if name is not None and name not in kinds:
            yield Sentence(f"{what}: {role}={name[:80]!r} is not a field of its event", (role,))
    if source.available_at is not None and source.available_after_s:
        yield Sentence(f"{what}: give available_at or available_after, not both", ("available_after",))
    yield from at(("available_after",), bounds.seconds(what, "available_after", source.available_after_s, 0))
    yield from at(("dedupe_within",), bounds.seconds(what, "dedupe_within", source.dedupe_within_s, 1))


def partitions_alike(project: d.ProjectDefinition) -> Iterator[str]:
    """All sources have the same number of partitions, since partition p of all of them is one shard."""
    if len({source.partitions for source in project.sources}) > 1:
        yield (
            f"{bounds.named('project', project.name)}: all sources must have the same number of partitions"
            " (partition p of all is one shard)"
        )
