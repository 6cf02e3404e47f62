"""All events that services exchange, one module per noun, and the rule that names them.

One type has three spellings: `VersionRegistered` is `version.registered` (`ce_type`) and
`schemas/events/version.registered.v1.json`.
"""

import re
from functools import cache
from types import ModuleType

import msgspec


@cache
def type_name(event: type) -> str:
    """The `ce_type` of an event's type.

    >>> class VersionRegistered: ...
    >>> type_name(VersionRegistered)
    'version.registered'
    """
    return ".".join(word.lower() for word in re.findall(r"[A-Z][a-z0-9]*", event.__name__))


@cache
def event_types() -> dict[str, type[msgspec.Struct]]:
    """All event types by `ce_type`. The imports are local because the modules import this package."""
    from headrace.events import (
        alerts,
        audit,
        backtests,
        efficacy,
        failures,
        features,
        inference,
        monitor,
        ops,
        project,
        registry,
        training,
        verdicts,
    )

    nouns = (
        alerts,
        audit,
        backtests,
        efficacy,
        failures,
        features,
        inference,
        monitor,
        ops,
        project,
        registry,
        training,
        verdicts,
    )
    return {type_name(found): found for noun in nouns for found in _structs(noun)}


def _structs(noun: ModuleType) -> list[type[msgspec.Struct]]:
    found = (value for value in vars(noun).values() if isinstance(value, type) and issubclass(value, msgspec.Struct))
    # NB: a noun with many types is a package that re-exports what its modules declare.
    return [struct for struct in found if f"{struct.__module__}.".startswith(f"{noun.__name__}.")]
