"""Topics as declared: created when missing, refused when they have drifted so that answers would be wrong, told when otherwise.

Who may alter a topic with Kafka's tools does so with a reason: a year of retention where for ever was declared, when the disk fills.
That stops nobody. What would make wrong answers does: other partitions, a topic that forgets keys, times that senders choose.
"""

import logging
from collections.abc import Mapping, Sequence

import msgspec

from headrace.errors import Misconfigured
from headrace.log.diagnosis import denied_topics, principal
from headrace.log.port import Log, TopicSpec

_log = logging.getLogger("headrace.log")

_TIMES = "message.timestamp.type"
_GRAVE = frozenset({_TIMES, "cleanup.policy"})


async def ensure_topics(log: Log, specs: Sequence[TopicSpec]) -> list[str]:
    """Create what is missing and return its names. Raises `Misconfigured` for topics that have drifted in what answers rest on.

    A topic that takes its times from its senders (older releases made them so) is mended: nothing that lies there changes.
    """
    found = await log.describe_topics([spec.name for spec in specs])
    late = [spec for spec in specs if spec.name in found and _takes_times_of_senders(spec, found[spec.name])]
    if late:
        await log.alter_topics(late)
        found |= await log.describe_topics([spec.name for spec in late])
    _refuse_drifted([spec for spec in specs if spec.name in found], found)
    missing = [spec for spec in specs if spec.name not in found]
    if missing:
        await log.create_topics(missing)
    return [spec.name for spec in missing]


async def require_topics(log: Log, specs: Sequence[TopicSpec]) -> None:
    """What a service does at its start: refuse to run on topics that are missing or have drifted."""
    found = await log.describe_topics([spec.name for spec in specs])
    missing = [spec.name for spec in specs if spec.name not in found]
    if missing:
        raise Misconfigured(await _why_missing(log, missing))
    _refuse_drifted(specs, found)


async def drifted(log: Log, specs: Sequence[TopicSpec]) -> list[str]:
    """In what topics that are there are not as declared, a sentence each; topics that are missing are left aside."""
    found = await log.describe_topics([spec.name for spec in specs])
    return [told for spec in specs if spec.name in found for told, _ in _differences(spec, found[spec.name])]


def _refuse_drifted(specs: Sequence[TopicSpec], found: Mapping[str, TopicSpec]) -> None:
    differences = [difference for spec in specs for difference in _differences(spec, found[spec.name])]
    grave = [told for told, is_grave in differences if is_grave]
    if grave:
        raise Misconfigured("; ".join(grave))
    for told, _ in differences:
        _log.warning("%s", told)


async def _why_missing(log: Log, missing: Sequence[str]) -> str:
    """A topic without the right to see it looks like one that is not there."""
    denied = await denied_topics(log, missing)
    if denied:
        return f"{principal(log)} has no right DESCRIBE on {', '.join(denied)}: grant what the service reads and writes"
    return f"topics are missing: {', '.join(missing)}; run `headrace topic apply`"


def _takes_times_of_senders(wanted: TopicSpec, found: TopicSpec) -> bool:
    """Whether that is all that has drifted."""
    is_kind, kind = found.config.get(_TIMES), wanted.config.get(_TIMES)
    if kind is None or is_kind in (None, kind):
        return False
    return not _differences(wanted, msgspec.structs.replace(found, config=found.config | {_TIMES: kind}))


def _differences(wanted: TopicSpec, found: TopicSpec) -> list[tuple[str, bool]]:
    """What differs, and whether answers would be wrong for it. NB: where nothing is keyed by, more partitions are only more."""
    differences: list[tuple[str, bool]] = []
    if wanted.partitions != found.partitions:
        way_out = "records would change partition, so this is never done in place: make a new major version of the topic and replay"
        told = f"{wanted.name} has {found.partitions} partitions, declared are {wanted.partitions}"
        is_grave = wanted.keyed or found.partitions < wanted.partitions
        differences.append((f"{told} ({way_out})" if is_grave else told, is_grave))
    for name, value in wanted.config.items():
        is_value = found.config.get(name)
        if is_value is not None and set(is_value.split(",")) != set(value.split(",")):
            way_out = "alter it with your Kafka tools, or change topics.yaml"
            differences.append(
                (f"{wanted.name} has {name}={is_value}, declared is {value} ({way_out})", name in _GRAVE)
            )
    return differences
