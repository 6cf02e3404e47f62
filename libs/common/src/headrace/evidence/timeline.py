"""The history of each deployment as episodes: messages in, values out, in bounded memory.

A record belongs to the episode of what it is about: the finding, request, run, version, rollout or command that it names
(`headrace.evidence.turns`). A record that joins two episodes makes them one, as a retrain that follows two findings. The
topics may come in any order among each other; the records of a partition must come in the order of their offsets. A
record that was taken before, by its place or its id, changes nothing.

Where a name is not enough:

| record                       | belongs to                                                                          |
|------------------------------|-------------------------------------------------------------------------------------|
| the start of a rollout       | the episode of its version, if that runs and had no rollout yet; else its own        |
| an approval                  | the episode of its version, if that runs; else its own                               |
| a roll-back on evidence      | the newest rollout of its version; by hand: its command                              |
| an alias, a route            | what the record before it did, if both follow from one cause; else its command       |
| a version warmed             | the newest episode of its version, from its first step to 30 s after its last        |
| an alert                     | the newest episode with a finding of its kind, or the newest rollout                 |
| what a switch brought        | the episode in which that version became champion last, else no step                 |

Per deployment the newest `MOST_EPISODES` episodes are held, ended ones go first, and `MOST_STEPS` steps; of a run only
the newest progress, of a switch only the newest figure of what it brought. Of more than `MOST_DEPLOYMENTS` those go first of which there are only commands and refusals, since
anybody may write a name into a users' topic.
"""

from headrace.events.alerts import AlertChanged
from headrace.evidence.episodes import Episode, Medians, medians
from headrace.evidence.stories import Story
from headrace.log.codec import Message

# The topics that it reads.
TOPICS = (
    "monitor.windows", "monitor.findings", "monitor.verdicts", "training.requests", "training.facts",
    "registry.commands", "registry.facts", "inference.facts", "alerts",
)  # fmt: skip
MOST_EPISODES, MOST_STEPS, MOST_DEPLOYMENTS = 200, 2_000, 2_000


class Timeline:
    """The episodes of all deployments, fed message by message."""

    def __init__(self, most_episodes: int = MOST_EPISODES, most_steps: int = MOST_STEPS) -> None:
        self._most = (most_episodes, most_steps)
        self._stories: dict[str, Story] = {}
        self._reached: dict[tuple[str, int], int] = {}

    def take(self, message: Message) -> str | None:
        """Take a record of `TOPICS`; returns the deployment whose episodes it changed, None if it changed none."""
        record, event = message.record, message.event
        place = (record.topic, record.partition)
        if event is None or record.offset <= self._reached.get(place, -1):
            return None
        self._reached[place] = record.offset
        name = event.labels.get("deployment") if isinstance(event, AlertChanged) else getattr(event, "deployment", None)
        if not name:
            return None
        story = self._stories.get(name)
        if story is None:
            story = self._stories[name] = Story(name, *self._most)
            self._bound(name)
        return name if story.take(message) else None

    def _bound(self, newest: str) -> None:
        if len(self._stories) > MOST_DEPLOYMENTS:
            others = [name for name in self._stories if name != newest]
            del self._stories[next((name for name in others if not self._stories[name].is_known), others[0])]

    @property
    def deployments(self) -> list[str]:
        """The deployments that have a history, by name."""
        return sorted(name for name, story in self._stories.items() if story.held)

    def episodes(self, deployment: str, last: int | None = None) -> list[Episode]:
        """The episodes of a deployment, oldest first by their first step; `last`: only so many of the newest."""
        story = self._stories.get(deployment)
        found = sorted(story.episodes() if story else [], key=lambda one: one.since_wall_s)
        return found if last is None else found[-last:] if last else []

    def medians(self, deployment: str) -> Medians:
        """The median durations of a deployment's episodes."""
        return medians(self.episodes(deployment))

    def episode_with(self, deployment: str, key: str) -> Episode | None:
        """The episode of something, such as `finding:ID` or `run:ID`; None where there is none."""
        story = self._stories.get(deployment)
        number = story.keys.get(key) if story else None
        return None if story is None or number is None else story.episode(number)

    def forgotten(self, deployment: str) -> int:
        """How many older episodes of a deployment are not held any more."""
        story = self._stories.get(deployment)
        return story.forgotten if story else 0

    def step_count(self, deployment: str) -> int:
        """How many steps are held of a deployment."""
        story = self._stories.get(deployment)
        return sum(len(one.entries) for one in story.held.values()) if story else 0
