"""The search: deployments, versions, findings, alerts and pages by what a person types, and decisions by their ids.

A hit is better the earlier the text stands in it; of equal hits the shorter one comes first.
"""

from collections.abc import Iterator

from headrace_console.core.documents import Found
from headrace_console.core.links import decision_link, deployment_link, finding_link, version_link
from headrace_console.core.world import World

MOST_FOUND, MOST_CHARS = 20, 200
_PAGES = (
    ("alerts", "/alerts"), ("dead letters", "/dead-letters"), ("features", "/features"), ("services", "/services"),
    ("now", "/"),
)  # fmt: skip
_VERSIONS_SEARCHED = 50


def find(world: World, text: str) -> list[Found]:
    """The best hits for a text, at most `MOST_FOUND`; none for an empty one."""
    wanted = text.strip().lower()[:MOST_CHARS]
    if not wanted:
        return []
    ranked = []
    for order, found in enumerate(_everything(world)):
        at = min(
            (place for place in (found.text.lower().find(wanted), found.detail.lower().find(wanted)) if place >= 0),
            default=-1,
        )
        if at >= 0:
            ranked.append((at, len(found.text), order, found))
    return [found for *_, found in sorted(ranked, key=lambda hit: hit[:3])][:MOST_FOUND]


def _everything(world: World) -> Iterator[Found]:
    for name in world.names():
        project = world.deployments.get(name)
        yield Found("deployment", name, deployment_link(name), project[0].name if project is not None else "")
    for title, link in _PAGES:
        yield Found("page", title, link)
    for name in world.names():
        entry = world.releases.entry(name)
        for version in sorted(entry.versions, reverse=True)[:_VERSIONS_SEARCHED]:
            yield Found("version", f"{name} v{version}", version_link(name, version), entry.stages.get(version, ""))
        for found in world.findings.of(name).values():
            opened = found.opened
            text = f"{name}: {opened.kind.replace('_', ' ')} {opened.finding}"
            yield Found("finding", text, finding_link(name, opened.finding), opened.summary)
    for alert, _ in world.alarms.firing().values():
        yield Found("alert", alert.labels.get("alertname", ""), "/alerts", alert.annotations.get("summary", ""))


def decision(deployment: str, wanted: str, *, is_unit: bool, detail: str = "") -> Found:
    """A decision as a hit."""
    return Found("unit" if is_unit else "decision", wanted, decision_link(deployment, wanted), detail or deployment)
