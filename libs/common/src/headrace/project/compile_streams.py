"""Compiles sources and feature views: typed fields, and aggregations over them."""

import types
import typing
from datetime import datetime
from typing import Any

import msgspec

from headrace.durations import seconds
from headrace.errors import Misconfigured
from headrace.events import definition as d
from headrace.project.rules.bounds import named
from headrace.project.rules.sentences import Sentence
from headrace.project.sources import Source
from headrace.project.views import FeatureView

_KINDS: dict[Any, str] = {float: "number", int: "integer", str: "text", bool: "flag", datetime: "instant"}
_TYPES = {kind: python for python, kind in _KINDS.items()}


def event_struct(source: d.SourceDefinition) -> type[msgspec.Struct]:
    """A struct that reads a source's events by its compiled contract, for services that do not import the user's
    code.
    """
    fields = [_struct_field(field) for field in source.fields]
    return msgspec.defstruct(_pascal(source.name), sorted(fields, key=len), frozen=True, gc=False, kw_only=True)


def compile_source(source: Source) -> d.SourceDefinition:
    """A source's contract, from the annotations of its event type."""
    fields = tuple(_field(source.name, field) for field in msgspec.structs.fields(source.event))
    known = {field.name: field for field in fields}
    for role, name in (("event_time", source.event_time), ("available_at", source.available_at)):
        if name is not None and (name not in known or known[name].kind not in ("instant", "number")):
            raise Misconfigured(
                Sentence(
                    f"{named('source', source.name)}: {role}={name!r} must be a datetime or float field of {source.event.__name__}",
                    (role,),
                )
            )
    if source.available_at is not None and source.available_after:
        both = f"{named('source', source.name)}: give available_at or available_after, not both"
        raise Misconfigured(Sentence(both, ("available_after",)))
    for role, name in (("dedupe", source.dedupe), ("key", source.key)):
        if name is not None and name not in known:
            problem = f"{role}={name!r} is not a field of {source.event.__name__}"
            raise Misconfigured(Sentence(f"{named('source', source.name)}: {problem}", (role,)))
    return d.SourceDefinition(
        source.name,
        fields,
        source.event_time,
        source.key,
        source.partitions,
        source.available_at,
        seconds(source.available_after),
        source.dedupe,
        seconds(source.dedupe_within),
    )


def compile_view(view: FeatureView) -> d.ViewDefinition:
    """A view's aggregations. Raises `Misconfigured` for an entity that the source does not have."""
    source = compile_source(view.source)
    kinds = {field.name: field.kind for field in source.fields}
    entity = (view.entity,) if isinstance(view.entity, str) else tuple(view.entity)
    for name in entity:
        if name not in kinds:
            problem = f"entity {name!r} is not a field of source {source.name}"
            raise Misconfigured(Sentence(f"{named('view', view.name)}: {problem}", ("entity",)))
    features = tuple(
        d.FeatureDefinition(
            name,
            found.kind,
            found.column,
            int(seconds(found.window)),
            None if found.default is None else float(found.default),
            None if found.stale_after is None else seconds(found.stale_after),
        )
        for name, found in view.features.items()
    )
    return d.ViewDefinition(view.name, source.name, entity, features, d.digest_of(view.name, source, entity, features))


def _field(source: str, field: msgspec.structs.FieldInfo) -> d.FieldSpec:
    options = typing.get_args(field.type) if isinstance(field.type, types.UnionType) else (field.type,)
    kinds = [_KINDS.get(option) for option in options if option is not type(None)]
    if len(kinds) != 1 or kinds[0] is None:
        raise Misconfigured(
            f"{named('source', source)}: field {field.name} must be float, int, str, bool or datetime (or one of them | None)"
        )
    return d.FieldSpec(field.name, kinds[0], nullable=len(options) > 1)


def _struct_field(field: d.FieldSpec) -> tuple[Any, ...]:
    python = _TYPES[field.kind]
    return (field.name, python | None, None) if field.nullable else (field.name, python)


def _pascal(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))
