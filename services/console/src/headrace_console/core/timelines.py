"""The history of a deployment as a document: what `headrace.evidence.timeline` found, as the page shows it."""

from headrace.evidence import episodes
from headrace.evidence.steps import Step
from headrace_console.core.documents import Episode, Timeline, TimelineStep
from headrace_console.core.links import finding_link, version_link
from headrace_console.core.places import base_place
from headrace_console.core.world import World

SHOWN = 30


def document(world: World, name: str) -> Timeline | None:
    """The document `timeline/NAME`; None where nothing is known of the deployment."""
    found = world.timeline.episodes(name)
    if not found and name not in world.deployments:
        return None
    shown, middle = found[-SHOWN:], episodes.medians(found)
    dropped = len(found) - len(shown)
    return Timeline(
        {one.id: _episode(one, world.namespace) for one in shown}, middle.mttd_event_s, middle.mttr_event_s, dropped
    )


def episode_with(world: World, name: str, finding: str) -> str:
    """The id of the episode of a finding, "" where it is not held."""
    found = world.timeline.episode_with(name, f"finding:{finding}")
    return found.id if found is not None else ""


def _episode(found: episodes.Episode, namespace: str) -> Episode:
    return Episode(
        found.title,
        found.standing or found.how or found.state,
        found.mark,
        found.since_event_s if found.since_event_s is not None else found.since_wall_s,
        found.since_wall_s,
        {step.id: _step(step, order, found.deployment, namespace) for order, step in enumerate(found.steps)},
        found.mttd.event_s,
        found.mttr.event_s,
        found.mttr.wall_s,
        next((one.text for one in (found.mttd, found.mttr) if one.event_s is None), ""),
    )


def _step(step: Step, order: int, deployment: str, namespace: str) -> TimelineStep:
    return step_of(step, order, namespace, _link(step, deployment))


def step_of(step: Step, order: int, namespace: str = "", link: str = "") -> TimelineStep:
    """A step as the page shows it. Its reason stands beside the sentence only where that does not hold it."""
    return TimelineStep(
        order,
        step.kind,
        step.sentence,
        step.state,
        step.event_s if step.event_s is not None else step.wall_s,
        step.wall_s,
        base_place(step.place, namespace),
        step.since_wall_s,
        step.since_event_s,
        step.by,
        (step.reason,) if step.reason and step.reason not in step.sentence else (),
        link,
    )


def _link(step: Step, deployment: str) -> str:
    finding = next((ref.removeprefix("finding:") for ref in step.refs if ref.startswith("finding:")), "")
    if step.kind.startswith("finding.") and finding:
        return finding_link(deployment, finding)
    return version_link(deployment, step.version) if step.version else ""
