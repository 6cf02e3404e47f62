"""Which record is to blame when a transform ended the whole process.

What was in flight when a process ended without being asked to is a suspect. One crash blames nobody: other transforms were in
the midst of their records too. While there are suspects one transform runs at a time, so a second crash leaves
exactly one record in flight: it is dead-lettered from then on. The same holds for the import of a project.
"""

from collections.abc import Iterable, Mapping

from headrace.log.port import Record

MOST_CRASHES = 2
MOST_KNOWN = 1000
# Suspects that are not met again within so long are on another instance, or done: nobody waits for them any more.
ALONE_S = 600.0

# What stands for a topic while a project is imported: no topic can be called so.
IMPORT = "import of "
# Pipeline, topic, partition, offset, append time: a topic that is made again has other times.
Key = tuple[str, str, int, int, int]
# How many processes ended while a record was in flight, by its key, oldest first.
Crashes = Mapping[Key, int]


def key_of(pipeline: str, record: Record) -> Key:
    """What a record in flight is known by."""
    return pipeline, record.topic, record.partition, record.offset, record.timestamp_ms


def import_of(digest: str) -> Record:
    """What is in flight while a project is imported: a record of no topic, with the project's digest in its name."""
    return Record(f"{IMPORT}{digest[:64]}", 0, 0, None, None)


def after_crash(known: Crashes, in_flight: Iterable[Key]) -> dict[Key, int]:
    """What is known after a process ended: `in_flight` are one crash older.

    NB: what was in flight at the crash before, and not at this one, is suspected no more: it may never be met here again.

    >>> after_crash({("a", "t", 0, 1, 0): 1, ("b", "t", 0, 2, 0): 1}, [("a", "t", 0, 1, 0)])
    {('a', 't', 0, 1, 0): 2}
    """
    noted = list(in_flight)
    found = {key: crashes for key, crashes in known.items() if crashes >= MOST_CRASHES or key in noted}
    for key in noted:
        found[key] = found.pop(key, 0) + 1
    return bounded(found)


def bounded(known: Crashes) -> dict[Key, int]:
    """The newest `MOST_KNOWN` of them."""
    return dict(list(known.items())[-MOST_KNOWN:])


def is_to_blame(known: Crashes, key: Key) -> bool:
    """Whether the process ended on it so often that it is not tried again."""
    return known.get(key, 0) >= MOST_CRASHES


def is_suspect(known: Crashes, key: Key) -> bool:
    """Whether the process ended while it was in flight, and it may have been another one's fault."""
    return 0 < known.get(key, 0) < MOST_CRASHES


def must_take_turns(known: Crashes, since_start_s: float) -> bool:
    """Whether one transform runs at a time, so that a crash has one culprit. `since_start_s`: how long this process has run."""
    return bool(known) and since_start_s < ALONE_S and any(is_suspect(known, key) for key in known)


def without_imports(known: Crashes) -> dict[Key, int]:
    """What is left when a process ends in order: a project's code may be another one at the next start."""
    return {key: crashes for key, crashes in known.items() if not key[1].startswith(IMPORT)}


def describe(key: Key, crashes: int) -> str:
    """For the log: what was in flight when the process ended, and what happens to it now."""
    who, topic, partition, offset, _ = key
    is_last = crashes >= MOST_CRASHES
    if topic.startswith(IMPORT):
        then = "it is left out from now on" if is_last else "it is tried once more"
        return f"project {who} was being imported when the process ended without being asked to ({crashes}); {then}"
    then = "it is a dead letter from now on" if is_last else "transforms run one at a time until it is done"
    at = f"{topic}/{partition}/{offset}"
    return f"pipeline {who} was at {at} when the process ended without being asked to ({crashes}); {then}"
