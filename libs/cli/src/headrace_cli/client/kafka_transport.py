"""Requests directly over Kafka: a record on `inference.requests`, and the reply on the client's own partition of `inference.replies`."""

import asyncio
import contextlib
import secrets
from collections.abc import Iterator, Sequence
from functools import partial

import msgspec

from headrace.asking.asker import Asker
from headrace.asking.outcome_writer import Observer
from headrace.asking.outcomes import Observed, refuse
from headrace.asking.output_kinds import OutputKinds
from headrace.asking.pending import Question
from headrace.asking.prediction import Prediction, predicted
from headrace.asking.requests import Unfit, shown
from headrace.clock import Clock, SystemClock
from headrace.errors import HeadraceError, Retryable
from headrace.events.definition import DeploymentDefinition
from headrace.events.inference import PredictionAnswered, PredictionRequested
from headrace.hosting.naming import topics_of
from headrace.hosting.settings import Settings
from headrace.log.codec import Codec
from headrace.log.connecting import connect
from headrace.log.kafka import KafkaLog
from headrace.log.port import Log
from headrace.log.topics import Topics
from headrace.project.applied import Projects
from headrace_cli.client.errors import ClientError, Rejected, Unreachable
from headrace_cli.client.rows import Batch

CONNECT_WITHIN_S = 10.0
CATCH_UP_S = 1.0
MOST_BYTES = 65_536


@contextlib.contextmanager
def client_errors(request_id: str) -> Iterator[None]:
    """Translate every error inside the block into one of the client's own errors."""
    try:
        yield
    except ClientError:
        raise
    except (Retryable, TimeoutError, OSError) as error:
        raise Unreachable(str(error) or type(error).__name__, request_id) from error
    except HeadraceError as error:
        raise Rejected(str(error)) from error


class KafkaTransport:
    """Asks over a log that is already connected; `at` returns one that connects itself."""

    def __init__(self, log: Log, codec: Codec, topics: Topics, projects: Projects, clock: Clock) -> None:
        self._log, self._projects, self._clock = log, projects, clock
        self._asker = Asker(log, codec, topics, clock, f"client-{secrets.token_hex(6)}")
        self._observer = Observer(log, topics, "client")
        self._kinds = OutputKinds(log, codec, topics)
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @staticmethod
    def at(bootstrap_servers: str) -> "OwnKafkaTransport":
        """A transport for a broker; security and namespace come from the settings."""
        return OwnKafkaTransport(msgspec.structs.replace(Settings.load(), bootstrap_servers=bootstrap_servers))

    async def start(self) -> None:
        """Start to read replies; `projects` must have been started."""
        await self._kinds.start()
        await self._asker.start()
        parts = (self._asker.run, self._kinds.run)
        self._tasks = [asyncio.create_task(part(self._stop)) for part in parts]

    async def close(self) -> None:
        """Stop reading replies."""
        self._stop.set()
        for task in self._tasks[1:]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._observer.close()
        await self._kinds.stop()

    async def ask(self, deployment: str, batch: Batch, version: int | None, deadline_s: float) -> list[Prediction]:
        """A prediction per row; see `Transport.ask`."""
        deadline_ms = max(1, int(deadline_s * 1000))
        with client_errors(batch.request_id):
            found = await self._found(deployment)
            kind_of = partial(self._kinds.of, found)
            answers = await self.answers(deployment, batch, version, deadline_ms)
        return [
            predicted(deployment, ident, answered, kind_of, deadline_ms)
            for ident, answered in zip(batch.ids, answers, strict=True)
        ]

    async def observe(self, deployment: str, outcomes: Sequence[Observed], deadline_s: float) -> None:
        """Return when all are on the log; see `Transport.observe`."""
        with client_errors(outcomes[0].id):
            found = await self._found(deployment)
            for number, one in enumerate(outcomes):
                try:
                    refuse(deployment, found, one)
                except Unfit as error:
                    raise Rejected(f"outcomes[{number}]: {error}" if len(outcomes) > 1 else str(error)) from None
            await self._observer.send(deployment, outcomes, deadline_s)

    def prediction(self, found: DeploymentDefinition, answered: PredictionAnswered) -> Prediction:
        """The prediction of an answer, with the class names of the version that gave it."""
        return predicted(found.name, answered.request_id, answered, partial(self._kinds.of, found), 0)

    async def answers(
        self, deployment: str, batch: Batch, version: int | None, deadline_ms: int
    ) -> Sequence[PredictionAnswered | None]:
        """The replies; None for those that did not come in time."""
        for task in self._tasks:
            if task.done():
                task.result()  # the error that ended the reading is the reason why nothing can be asked
        now_s = self._clock.now_s()
        rows = batch.plain(now_s)
        longest = max(row.size_bytes for row in rows)
        if longest > MOST_BYTES:
            raise Rejected(f"a row may have {MOST_BYTES} bytes at most, one has about {longest}")
        questions = [
            Question(
                ident,
                PredictionRequested(deployment, row.inputs, row.unit or ident, deadline_ms),
                now_s if row.at_s is None else row.at_s,
                version,
            )
            for ident, row in zip(batch.ids, rows, strict=True)
        ]
        return await self._asker.ask(questions, deadline_ms)

    async def _found(self, deployment: str) -> DeploymentDefinition:
        found = self._projects.deployment(deployment)
        if found is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CATCH_UP_S):
                    await self._projects.catch_up()
            found = self._projects.deployment(deployment)
        if found is None:
            known = ", ".join(d.name for _, d in self._projects.deployments()) or "none"
            raise Rejected(f"no applied project declares {shown(deployment)} (declared: {known})")
        return found[1]


class OwnKafkaTransport(KafkaTransport):
    """A Kafka transport with its own connection."""

    def __init__(self, settings: Settings) -> None:
        log, topics = KafkaLog(settings), topics_of(settings)
        codec = Codec(topics)
        super().__init__(log, codec, topics, Projects(log, codec, topics), SystemClock())

    async def start(self) -> None:
        """Connect and read the applied projects; see `Transport.start`."""
        try:
            with client_errors(""):
                await connect(self._log, CONNECT_WITHIN_S)
                await self._projects.start()
                await super().start()
        except ClientError:
            await self._log.stop()
            raise
        self._tasks.append(asyncio.create_task(self._projects.run(self._stop)))

    async def close(self) -> None:
        """Close the connections."""
        await super().close()
        await self._projects.stop()
        await self._log.stop()
