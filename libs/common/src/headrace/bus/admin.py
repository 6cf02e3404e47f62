"""Topics as declared: created when missing, refused when they have drifted."""

from collections.abc import Sequence

import msgspec

from headrace.bus.diagnosis import denied_topics, principal
from headrace.bus.port import Log, TopicSpec
from headrace.errors import Misconfigured

_TIMES = "message.timestamp.type"


async def ensure_topics(log: Log, specs: Sequence[TopicSpec]) -> list[str]:
    """Create what is missing and return its names. Raises `Misconfigured` for every topic that is not as declared.

    A topic that takes its times from its senders (older releases made them so) is mended: nothing that lies there changes.
    """
    found = await log.describe_topics([spec.name for spec in specs])
    late = [spec for spec in specs if spec.name in found and _takes_times_of_senders(spec, found[spec.name])]
    if late:
        await log.alter_topics(late)
        found |= await log.describe_topics([spec.name for spec in late])
    drifted = [
        difference for spec in specs if spec.name in found for difference in _differences(spec, found[spec.name])
    ]
    if drifted:
        raise Misconfigured("; ".join(drifted))
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
    drifted = [difference for spec in specs for difference in _differences(spec, found[spec.name])]
    if drifted:
        raise Misconfigured("; ".join(drifted))


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


def _differences(wanted: TopicSpec, found: TopicSpec) -> list[str]:
    differences = []
    if wanted.partitions != found.partitions:
        way_out = "records would change partition, so this is never done in place: make a new major version of the topic and replay"
        differences.append(
            f"{wanted.name} has {found.partitions} partitions, declared are {wanted.partitions} ({way_out})"
        )
    for name, value in wanted.config.items():
        is_value = found.config.get(name)
        if is_value is not None and set(is_value.split(",")) != set(value.split(",")):
            differences.append(
                f"{wanted.name} has {name}={is_value}, declared is {value} (alter it with your Kafka tools, or change topics.yaml)"
            )
    return differences
