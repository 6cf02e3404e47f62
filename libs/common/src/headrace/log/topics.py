"""Topics as `schemas/topics.yaml` declares them, and the only function that adds the namespace to a name."""

from dataclasses import dataclass, field
from functools import cached_property
from importlib import resources
from typing import Any

import yaml

from headrace.durations import seconds
from headrace.errors import Misconfigured
from headrace.events.definition import ProjectDefinition
from headrace.log.port import TopicSpec

_AUDIENCES = ("users", "facts", "internal")
_LIMITS = ("stop", "sample")


@dataclass(frozen=True, slots=True)
class TopicRule:
    """One line of topics.yaml. `audience` decides what an unreadable record means; `types`: the ce_types of the topic.

    For a users' topic, `reader` is the service that dead-letters, and `poison` is what happens beyond the limit: `stop`
    the partition, or `sample` the dead letters.
    """

    base: str
    partitions: int | str
    key: str
    cleanup: str
    audience: str
    owner: str
    types: tuple[str, ...]
    retention: str = "long"
    max_bytes: int | None = None
    reader: str = ""
    poison: str = ""

    @property
    def config(self) -> dict[str, str]:
        """The topic settings for Kafka; "long" means for ever."""
        # NB: the broker sets the append time, since the clock of a sender must not change retention or age.
        settings = {"cleanup.policy": self.cleanup, "message.timestamp.type": "LogAppendTime"}
        if self.max_bytes is not None:
            settings["max.message.bytes"] = str(self.max_bytes)
        if "delete" in self.cleanup:
            settings["retention.ms"] = "-1" if self.retention == "long" else str(int(seconds(self.retention) * 1000))
        return settings


@dataclass(frozen=True)
class Topics:
    """Names and rules of all topics under one namespace ("" for none)."""

    namespace: str
    rules: dict[str, TopicRule]
    knobs: dict[str, int]
    services: tuple[str, ...]
    _prefix: str = field(init=False, default="")

    def __post_init__(self) -> None:
        object.__setattr__(self, "_prefix", f"{self.namespace}." if self.namespace else "")

    @staticmethod
    def load(namespace: str = "", **knobs: int) -> "Topics":
        """Read the packaged topics.yaml. `knobs` override its partition counts (`requests=4`)."""
        text = resources.files("headrace").joinpath("topics.yaml").read_text()
        declared: dict[str, Any] = yaml.safe_load(text)
        unknown = set(knobs) - set(declared["partitions"])
        if unknown:
            raise Misconfigured(
                f"no such partition setting: {sorted(unknown)}; there are {sorted(declared['partitions'])}"
            )
        rules = {base: _rule(base, line) for base, line in declared["topics"].items()}
        return Topics(namespace, rules, declared["partitions"] | knobs, tuple(declared["services"]))

    def prefixed(self, name: str) -> str:
        """Any name in the cluster with its namespace: topics, groups, transactional ids, app ids."""
        return f"{self._prefix}{name}"

    def name(self, base: str) -> str:
        """The full name of a declared topic, `inference.requests.v1` or without its version. Raises `Misconfigured`."""
        versioned = base if base in self.rules else f"{base}.v1"
        if versioned not in self.rules:
            raise Misconfigured(f"no topic {base!r} in schemas/topics.yaml")
        return self.prefixed(versioned)

    def of_source(self, source: str) -> str:
        """`events.<source>.v1`."""
        return self.prefixed(f"events.{source}.v1")

    def of_raw(self, stream: str) -> str:
        """`raw.<stream>.v1`."""
        return self.prefixed(f"raw.{stream}.v1")

    def of_reference(self, name: str) -> str:
        """`reference.<name>.v1`."""
        return self.prefixed(f"reference.{name}.v1")

    def dlq(self, service: str) -> str:
        """`dlq.<service>.v1`."""
        return self.prefixed(f"dlq.{service}.v1")

    def group(self, service: str) -> str:
        """The consumer group of a service."""
        return self.prefixed(f"headrace.{service}")

    def transactional_id(self, service: str, shard: int) -> str:
        """`{namespace}.{group}-{p}`: one writer per shard."""
        return f"{self.group(service)}-{shard}"

    def base(self, full: str) -> str:
        """The name without the namespace."""
        return full.removeprefix(self._prefix)

    def rule(self, full: str) -> TopicRule:
        """The rule of a full topic name; `events.landings.v1` has that of `events.<source>.v1`. Raises
        `Misconfigured`.
        """
        base = self.base(full)
        found = self.rules.get(base) or self._patterns.get(base.split(".", 1)[0])
        if found is None:
            raise Misconfigured(f"topic {full!r} is not declared in schemas/topics.yaml")
        return found

    @cached_property
    def _patterns(self) -> dict[str, TopicRule]:
        return {base.split(".", 1)[0]: rule for base, rule in self.rules.items() if "<" in base}

    def specs(self, project: ProjectDefinition | None = None) -> list[TopicSpec]:
        """Every topic as it must exist. Those of raw streams and sources need the project."""
        fixed = [
            self._spec(rule, base, self.count(rule.partitions, project))
            for base, rule in self.rules.items()
            if "<" not in base
        ]
        dlqs = [self._spec(self.rules["dlq.<service>.v1"], f"dlq.{service}.v1", 1) for service in self.services]
        if project is None:
            return fixed + dlqs
        raw = [self._spec(self.rules["raw.<stream>.v1"], f"raw.{s.name}.v1", s.partitions) for s in project.raw]
        events = [
            self._spec(self.rules["events.<source>.v1"], f"events.{s.name}.v1", s.partitions) for s in project.sources
        ]
        references = [
            self._spec(self.rules["reference.<name>.v1"], f"reference.{r.name}.v1", r.partitions)
            for r in project.references
        ]
        return fixed + dlqs + raw + references + events

    def count(self, partitions: int | str, project: ProjectDefinition | None = None) -> int:
        """The partitions of a rule: a number, or a knob. `source` is that of the project's sources, which all have the
        same.
        """
        if isinstance(partitions, int):
            return partitions
        if partitions == "source" and project is not None and project.sources:
            return project.sources[0].partitions
        return self.knobs[partitions]

    def _spec(self, rule: TopicRule, base: str, partitions: int) -> TopicSpec:
        # NB: raw topics belong to users, who may add partitions. Nothing of ours depends on the partition of a raw key.
        is_keyed = rule.key != "none" and not base.startswith("raw.")
        return TopicSpec(self.prefixed(base), partitions, rule.config, keyed=is_keyed)


def _rule(base: str, line: dict[str, Any]) -> TopicRule:
    fields: dict[str, Any] = line | {"types": tuple(line["types"])}
    rule = TopicRule(base=base, **fields)
    if rule.audience not in _AUDIENCES:
        raise Misconfigured(f"topics.yaml, {base}: audience must be one of {_AUDIENCES}, got {rule.audience!r}")
    if rule.audience == "users" and not (rule.reader and rule.poison in _LIMITS):
        raise Misconfigured(f"topics.yaml, {base}: a users' topic names its reader, and poison as one of {_LIMITS}")
    return rule
