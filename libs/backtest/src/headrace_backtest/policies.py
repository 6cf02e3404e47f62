"""The policies that are tried: those of a file, spelled as in a project, or the deployment's own.

    [calm]
    monitoring = [{ kind = "PageHinkley", threshold = 1.2 }]
    retraining = { on = ["drift"], cooldown = "14d" }

    [watched]
    retraining = false

What a policy does not name stays as the project has it. `kind` is a class of `headrace.project`, the other keys are its
arguments.
"""

import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

import headrace.project as sdk
from headrace.errors import Misconfigured
from headrace.events.definition import DeploymentDefinition
from headrace.project import Deployment
from headrace.project.applicable.wording import unknown
from headrace.project.compile_deployments import compile_deployment

OWN = "as declared"
KEYS = ("monitoring", "retraining")
# What each key becomes in a definition.
_FIELDS = {"monitoring": ("monitoring", "charts"), "retraining": ("retraining",)}
_MOST_BYTES, _MOST_POLICIES = 100_000, 20
_NAME_CHARS = 40


@dataclass(frozen=True)
class Policy:
    """A named policy. `deployment`: the deployment with it."""

    name: str
    deployment: DeploymentDefinition


def policies_of(declared: Deployment, applied: DeploymentDefinition, path: Path | None) -> Sequence[Policy]:
    """The policies of a file, or the deployment's own. `declared`: as the user's project writes it; `applied`: on the log.

    Raises `Misconfigured` in one sentence for what is none.
    """
    if path is None:
        return [Policy(OWN, applied)]
    return parsed(_read(path), declared, applied, str(path))


def parsed(
    found: Mapping[str, Any], declared: Deployment, applied: DeploymentDefinition, where: str
) -> Sequence[Policy]:
    """The policies in a table of tables. `where`: names their source in messages."""
    if not found:
        raise Misconfigured(
            f"{where} names no policy: write [name], and below it monitoring = [...] or retraining = {{...}}"
        )
    if len(found) > _MOST_POLICIES:
        raise Misconfigured(f"{where} names {len(found)} policies, at most {_MOST_POLICIES} are tried at once")
    return [_policy(name, fields, declared, applied, where) for name, fields in found.items()]


def _policy(name: str, fields: Any, declared: Deployment, applied: DeploymentDefinition, where: str) -> Policy:
    if not isinstance(fields, Mapping):
        raise Misconfigured(f"{where}: {name!r:.60} is no policy: write [name], and its keys below it")
    if len(name) > _NAME_CHARS:
        raise Misconfigured(f"{where}: the name of a policy has at most {_NAME_CHARS} characters, got {name!r:.60}")
    stranger = next((key for key in fields if key not in KEYS), None)
    if stranger is not None:
        raise Misconfigured(f"{where}: a policy has no such key, {unknown(stranger, KEYS)}")
    changes: dict[str, Any] = {}
    if "monitoring" in fields:
        changes["monitoring"] = [
            _made(one, f"{where}: [{name}] monitoring") for one in _list(fields["monitoring"], where)
        ]
    if "retraining" in fields:
        given = fields["retraining"]
        changes["retraining"] = (
            None if given is False else _called(sdk.Retraining, given, f"{where}: [{name}] retraining")
        )
    try:
        compiled = compile_deployment(dataclasses.replace(declared, **changes))
    except Misconfigured as error:
        raise Misconfigured(f"{where}: [{name}] {error}") from None
    changed = {key: getattr(compiled, key) for key in (*changes, *(("charts",) if "monitoring" in changes else ()))}
    return Policy(name, msgspec.structs.replace(applied, **changed))


def _list(value: Any, where: str) -> Sequence[Any]:
    if not isinstance(value, list):
        raise Misconfigured(f"{where}: monitoring is a list, got {value!r:.80}")
    return value


def _made(fields: Any, where: str) -> Any:
    if not isinstance(fields, Mapping) or not isinstance(fields.get("kind"), str):
        raise Misconfigured(f'{where} is a list of {{ kind = "PageHinkley", ... }}, got {fields!r:.80}')
    kind = getattr(sdk, fields["kind"], None)
    if fields["kind"] not in sdk.__all__ or not isinstance(kind, type):
        raise Misconfigured(f"{where}: headrace.project has no {fields['kind']!r:.60}")
    return _called(kind, {key: value for key, value in fields.items() if key != "kind"}, where)


def _called(kind: Any, fields: Any, where: str) -> Any:
    if not isinstance(fields, Mapping):
        raise Misconfigured(f"{where} is a table of arguments of {kind.__name__}, got {fields!r:.80}")
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
    try:
        return kind(**given)
    except TypeError as error:
        raise Misconfigured(f"{where}: {error}") from None


def _read(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise Misconfigured(f"cannot read the policies {path}: {error.strerror or error}") from None
    if len(data) > _MOST_BYTES:
        raise Misconfigured(f"the policies {path} are longer than {_MOST_BYTES:,} bytes: they are none")
    try:
        return tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise Misconfigured(f"the policies {path} are no TOML: {error}") from None
