"""Which silences an Alertmanager must be given, and which it must end, so that its silences are ours.

Ours bear our mark in their comment, with the id of the silence; those that others set there are left alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from headrace.events.alerts import SilenceSet
from headrace.hosting.silences import in_force
from headrace.log.envelope import format_instant, parse_instant


def mark_of(ident: str, namespace: str) -> str:
    """The end of the comment by which a silence is known again."""
    return f"[headrace {namespace or '-'} {ident}]"


def body_of(silence: SilenceSet, namespace: str) -> dict[str, Any]:
    """A silence as Alertmanager takes it."""
    matchers = silence.matchers | ({"namespace": namespace} if namespace else {})
    return {
        "matchers": [
            {"name": name, "value": value, "isRegex": False, "isEqual": True}
            for name, value in sorted(matchers.items())
        ],
        "startsAt": format_instant(silence.starts_s),
        "endsAt": format_instant(silence.ends_s),
        "createdBy": silence.by,
        "comment": f"{silence.reason} {mark_of(silence.id, namespace)}",
    }


def changes(
    silences: Mapping[str, SilenceSet], there: Sequence[Mapping[str, Any]], namespace: str, now_s: float
) -> tuple[list[dict[str, Any]], list[str]]:
    """The silences to be made, and the ids of those to be ended. `there`: what `GET /api/v2/silences` answers."""
    wanted = {mark_of(ident, namespace): found for ident, found in in_force(silences, now_s).items()}
    ours = _ours(there, namespace)
    ended = [str(one["id"]) for one in ours if not _is_same(wanted.get(_mark_in(one)), one, namespace)]
    kept = {_mark_in(one) for one in ours if str(one["id"]) not in ended}
    return [body_of(found, namespace) for mark, found in wanted.items() if mark not in kept], ended


def _ours(there: Iterable[Mapping[str, Any]], namespace: str) -> list[Mapping[str, Any]]:
    begin = f"[headrace {namespace or '-'} "
    live = [one for one in there if one.get("status", {}).get("state") in ("active", "pending")]
    return [one for one in live if _mark_in(one).startswith(begin)]


def _mark_in(one: Mapping[str, Any]) -> str:
    comment = str(one.get("comment", ""))
    return comment[comment.rfind("[headrace ") :] if "[headrace " in comment else ""


def _is_same(silence: SilenceSet | None, one: Mapping[str, Any], namespace: str) -> bool:
    if silence is None:
        return False
    body = body_of(silence, namespace)
    matchers = {found["name"]: found["value"] for found in one.get("matchers", ())}
    ours = {found["name"]: found["value"] for found in body["matchers"]}
    return matchers == ours and abs(parse_instant(str(one["endsAt"])) - silence.ends_s) < 1.0
