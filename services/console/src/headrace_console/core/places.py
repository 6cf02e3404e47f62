"""Places of records: `topic/partition/offset`, with the topic's name as people know it: no namespace, no version."""

import re
from dataclasses import dataclass

_VERSION = re.compile(r"\.v[0-9]{1,4}$")
_PLACE = re.compile(r"(?P<topic>[A-Za-z0-9._-]{1,249})/(?P<partition>[0-9]{1,9})/(?P<offset>[0-9]{1,18})")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record is. `topic`: as it was given."""

    topic: str
    partition: int
    offset: int


def bare(topic: str) -> str:
    """A topic without its version.

    >>> bare("registry.facts.v1")
    'registry.facts'
    """
    return _VERSION.sub("", topic)


def base_place(place: str, namespace: str = "") -> str:
    """A place without namespace and version.

    >>> base_place("t1.registry.facts.v1/0/17", "t1"), base_place("")
    ('registry.facts/0/17', '')
    """
    topic, slash, rest = place.partition("/")
    return f"{bare(topic.removeprefix(f'{namespace}.') if namespace else topic)}{slash}{rest}"


def read_place(text: str) -> Place | None:
    """The place that a text names; None for any other text.

    >>> read_place("registry.facts/0/17")
    Place(topic='registry.facts', partition=0, offset=17)
    """
    found = _PLACE.fullmatch(text)
    return Place(found["topic"], int(found["partition"]), int(found["offset"])) if found else None
