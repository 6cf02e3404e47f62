"""Topics as declared: missing ones are created, and drift is refused or reported.

An operator may alter a topic for a reason, such as a year of retention instead of for ever when the disk fills. That is
logged and stops nobody. Drift that would make answers wrong is refused: other partitions, a topic that forgets keys, or
times that senders choose.
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
    """Create the missing topics and return their names. Raises `Misconfigured` for drift that would make answers wrong.

    A topic with the times of its senders, as older releases created it, is altered. Its records do not change.
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
    """Refuse to start a service on topics that are missing or have drifted. Raises `Misconfigured`."""
    found = await log.describe_topics([spec.name for spec in specs])
    missing = [spec.name for spec in specs if spec.name not in found]
    if missing:
        raise Misconfigured(await _why_missing(log, missing))
    _refuse_drifted(specs, found)


async def drifted(log: Log, specs: Sequence[TopicSpec]) -> list[str]:
    """The differences between existing topics and their declarations, one sentence each. Missing topics are ignored."""
    found = await log.describe_topics([spec.name for spec in specs])
    return [text for spec in specs if spec.name in found for text, _ in _differences(spec, found[spec.name])]


def _refuse_drifted(specs: Sequence[TopicSpec], found: Mapping[str, TopicSpec]) -> None:
    differences = [difference for spec in specs for difference in _differences(spec, found[spec.name])]
    grave = [text for text, is_grave in differences if is_grave]
    if grave:
        raise Misconfigured("; ".join(grave))
    for text, _ in differences:
        _log.warning("%s", text)


async def _why_missing(log: Log, missing: Sequence[str]) -> str:
    """Why topics are missing. NB: a topic that we have no right to see looks missing too."""
    denied = await denied_topics(log, missing)
    if denied:
        return f"{principal(log)} has no right DESCRIBE on {', '.join(denied)}: grant what the service reads and writes"
    return f"topics are missing: {', '.join(missing)}; run `headrace topic apply`"


def _takes_times_of_senders(wanted: TopicSpec, found: TopicSpec) -> bool:
    """Whether the source of the times is the only drift."""
    is_kind, kind = found.config.get(_TIMES), wanted.config.get(_TIMES)
    if kind is None or is_kind in (None, kind):
        return False
    return not _differences(wanted, msgspec.structs.replace(found, config=found.config | {_TIMES: kind}))


def _differences(wanted: TopicSpec, found: TopicSpec) -> list[tuple[str, bool]]:
    """What differs, and whether answers would be wrong. NB: more partitions of a topic without keys do no harm."""
    differences: list[tuple[str, bool]] = []
    if wanted.partitions != found.partitions:
        way_out = "records would change partition, so this is never done in place: make a new major version of the topic and replay"
        text = f"{wanted.name} has {found.partitions} partitions, declared are {wanted.partitions}"
        is_grave = wanted.keyed or found.partitions < wanted.partitions
        differences.append((f"{text} ({way_out})" if is_grave else text, is_grave))
    for name, value in wanted.config.items():
        is_value = found.config.get(name)
        if is_value is not None and set(is_value.split(",")) != set(value.split(",")):
            way_out = "alter it with your Kafka tools, or change topics.yaml"
            differences.append(
                (f"{wanted.name} has {name}={is_value}, declared is {value} ({way_out})", name in _GRAVE)
            )
    return differences
