"""A stream that `headrace replay` plays through an installation, and what is on the log afterwards."""

import asyncio
import csv
import json
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from tests.cases.concept_streams import Floats, Stream
from tests.e2e.commands import Shell

from headrace.events.inference import DecisionMade, FellBack, Served
from headrace.hosting.naming import topics_of
from headrace.hosting.settings import Settings
from headrace.log.codec import Codec, Message
from headrace.log.kafka import KafkaLog
from headrace.log.views import read_all

Event = TypeVar("Event")


def messages_of(shell: Shell, *nouns: str) -> list[Message]:
    """All messages on these topics, per topic in order."""

    async def read() -> list[Message]:
        settings = Settings(bootstrap_servers=shell.state["bootstrap_servers"])
        topics, log = topics_of(settings), KafkaLog(settings)
        await log.start()
        try:
            return [found for noun in nouns for found in await read_all(log, Codec(topics), [topics.name(noun)])]
        finally:
            await log.stop()

    return asyncio.run(read())


@dataclass(frozen=True)
class Played:
    """The messages on the log about one stream that was played to a deployment."""

    stream: Stream
    deployment: str
    messages: list[Message]

    def of(self, kind: type[Event]) -> list[Event]:
        """Events of a kind about the deployment."""
        found = [message.event for message in self.messages if isinstance(message.event, kind)]
        return [event for event in found if getattr(event, "deployment", "") == self.deployment]

    @cached_property
    def decided(self) -> list[DecisionMade]:
        """The decision of each row, in the stream's order; fails where one has none, or two."""
        rows = {unit_of(row): row for row in range(len(self.stream.labels))}
        found = self.of(DecisionMade)
        assert Counter(decision.unit for decision in found) == Counter(rows.keys())
        return sorted(found, key=lambda decision: rows[decision.unit])

    @cached_property
    def versions(self) -> NDArray[np.int64]:
        """The version that answered each row, 0 for the prior."""
        answers = [decision.answer for decision in self.decided]
        return np.array([answer.score.version if isinstance(answer, Served | FellBack) else -1 for answer in answers])

    @cached_property
    def scores(self) -> Floats:
        """The score of each row."""
        answers = [decision.answer for decision in self.decided]
        return np.array([answer.score.value if isinstance(answer, Served | FellBack) else np.nan for answer in answers])

    def first_of(self, version: int) -> int:
        """The first row that a version answered."""
        return int(np.argmax(self.versions == version))


def unit_of(row: int) -> str:
    """The unit of a row."""
    return f"row-{row}"


def write(shell: Shell, stream: Stream, name: str, rows: range) -> None:
    """Write these rows of a stream as a file for `replay`."""
    with (shell.folder / f"{name}.csv").open("w", newline="") as opened:
        written = csv.writer(opened)
        written.writerow(["row", "asked", *(f"x{n}" for n in range(stream.inputs.shape[1])), "label"])
        for row in rows:
            written.writerow(
                [unit_of(row), repr(float(stream.at_s[row])), *stream.inputs[row].tolist(), stream.labels[row]]
            )


def replayed(shell: Shell, stream: Stream, name: str, rows: range | None = None, *more: str) -> dict[str, Any]:
    """Play rows of a stream, all by default, to the deployment of a name; labels are an hour late. `more`: options. Returns the report of `replay`."""
    rows = rows if rows is not None else range(len(stream.labels))
    write(shell, stream, name, rows)
    columns = ("--unit", "row", "--at", "asked", "--label", "label", "--known", "+1h")
    ran = shell.run("replay", f"{name}.csv", "--deployment", name, *columns, *more, "--json", within_s=600.0)
    assert ran.returncode == 0, ran.stderr
    report = json.loads(ran.stdout)
    counted = ("rows", "requests", "decisions", "lost", "duplicated", "bad_rows")
    assert [report[key] for key in counted] == [*[len(rows)] * 3, 0, 0, 0]
    return report


def played_of(shell: Shell, stream: Stream, name: str) -> Played:
    """The messages on the log about a deployment."""
    nouns = (
        "inference.decisions", "monitor.findings", "monitor.windows", "training.requests", "training.facts", "registry.facts", "alerts",
    )  # fmt: skip
    return Played(stream, name, messages_of(shell, *nouns))


def row_at(stream: Stream, at_s: float) -> int:
    """How many rows had been asked by an instant."""
    return int(np.searchsorted(stream.at_s, at_s))
