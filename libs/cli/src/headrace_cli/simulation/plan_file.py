"""The fields of a rollout from a file, to try another plan than the project's: TOML or JSON, spelled as in a project."""

import json
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from headrace.durations import seconds
from headrace.errors import Misconfigured
from headrace.events.definition import DeploymentDefinition, RolloutDefinition
from headrace.project.applicable.wording import unknown
from headrace.project.rules import rollout_rules

_MOST_BYTES = 100_000


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Misconfigured(f"{name} is a number, got {value!r:.80}")
    return float(value)


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise Misconfigured(f"{name} is a whole number, got {value!r:.80}")
    return value


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise Misconfigured(f"{name} is a text, got {value!r:.80}")
    return value


def _seconds(name: str, value: Any) -> float:
    try:
        return seconds(value)
    except Misconfigured as error:
        raise Misconfigured(f"{name}: {error}") from None


# Per key of a plan its field in the definition, how it is read, and whether it may be none ("none", or null in JSON).
_FIELDS: Mapping[str, tuple[str, Callable[[str, Any], Any], bool]] = {
    "alpha": ("alpha", _number, False),
    "margin": ("margin", _number, True),
    "ranking_limit": ("ranking_limit", _number, False),
    "season": ("season_s", _seconds, True),
    "min_cycles": ("min_cycles", _whole, False),
    "block": ("block_s", _seconds, False),
    "label_delay": ("label_delay_s", _seconds, True),
    "missing": ("missing", _text, False),
    "give_up_after": ("give_up_s", _seconds, False),
    "rollback_window": ("rollback_window_s", _seconds, False),
}


def plan_of(deployment: DeploymentDefinition, path: Path | None) -> RolloutDefinition:
    """The deployment's plan, with the fields of a file in place of its own. Raises `Misconfigured` in one sentence."""
    return deployment.rollout if path is None else changed(deployment, _read(path), str(path))


def changed(deployment: DeploymentDefinition, fields: Mapping[str, Any], where: str) -> RolloutDefinition:
    """The deployment's plan with these fields, spelled as in a project. `where`: names their source in messages."""
    stranger = next((name for name in fields if name not in _FIELDS), None)
    if stranger is not None:
        raise Misconfigured(f"{where}: a plan has no such key, {unknown(stranger, _FIELDS)}")
    values = {}
    for name, value in fields.items():
        field, read, may_be_none = _FIELDS[name]
        is_none = may_be_none and (value is None or value == "none")
        try:
            values[field] = None if is_none else read(name, value)
        except Misconfigured as error:
            raise Misconfigured(f"{where}: {error}") from None
    plan = replace(deployment.rollout, **values)
    for sentence in rollout_rules(deployment.name, plan):
        raise Misconfigured(f"{where}: {sentence}")
    return plan


def _read(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise Misconfigured(f"cannot read the plan {path}: {error.strerror or error}") from None
    if len(data) > _MOST_BYTES:
        raise Misconfigured(f"the plan {path} is longer than {_MOST_BYTES:,} bytes: it is no plan")
    try:
        text = data.decode()
        found = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        kind = "JSON" if path.suffix == ".json" else "TOML"
        raise Misconfigured(f"the plan {path} is no {kind}: {error}") from None
    if not isinstance(found, dict):
        raise Misconfigured(f"the plan {path} must be an object of fields, got {type(found).__name__}")
    return found
