"""Acts: a command in a person's name, and the facts that it caused, as they come back on the log."""

import asyncio
import logging
import secrets
from typing import Any

import msgspec

from headrace.clock import Clock
from headrace.errors import HeadraceError
from headrace.events.alerts import SilenceEnded, SilenceSet
from headrace.events.registry import CommandRefused
from headrace.evidence.steps import sentence
from headrace.log.codec import out
from headrace.log.envelope import Envelope, format_instant
from headrace.log.port import Log, Out, Producer
from headrace.log.topics import Topics
from headrace_console.core.acts import SILENCING, Refused, command_of, refuse, silence_of
from headrace_console.core.documents import Act, ActDone
from headrace_console.core.places import base_place
from headrace_console.core.seen import Seen
from headrace_console.core.world import World
from headrace_edge.rules.people import Person
from headrace_edge.rules.replies import Reply, as_json, error_reply
from headrace_edge.rules.requests import AdmittedRequest

_log = logging.getLogger("headrace.console")

SOURCE = "console"
# Acts that wait for an answer at once.
MOST_WAITING = 100


class Acts:
    """Carries out what a person does. `answer_s`: how long the registry's answer is waited for."""

    def __init__(self, log: Log, topics: Topics, world: World, clock: Clock, answer_s: float) -> None:
        self._log, self._topics, self._world, self._clock = log, topics, world, clock
        self._answer_s = answer_s
        self._producer: Producer | None = None
        self._waiting: dict[str, tuple[asyncio.Event, list[Seen]]] = {}

    def take(self, seen: Seen) -> None:
        """Take a record that may answer an act: a fact that it caused, or the silence itself, once it is read here."""
        found = self._waiting.get(seen.cause or "") or (
            self._waiting.get(seen.id) if seen.topic == "alerts.silences" else None
        )
        if found is not None:
            found[1].append(seen)
            found[0].set()

    async def act(self, request: AdmittedRequest[Person | None]) -> Reply:
        """Carry out an act, or refuse it."""
        try:
            act = msgspec.json.decode(request.body, type=Act)
        except msgspec.MsgspecError as error:
            return error_reply(400, f"this is no act: {error}")
        person = request.caller
        refusal = refuse(act, person)
        if refusal is not None or person is None:
            return _refused(refusal or Refused(401, "sign in with your key first"))
        made = self._command(act, person)
        if isinstance(made, Refused):
            return _refused(made)
        if len(self._waiting) >= MOST_WAITING:
            return error_reply(503, "too many acts wait for their answer", 5.0)
        _log.info("%s: %s of %s: %s", person.name, act.act, act.deployment or act.target, act.reason.strip())
        return await self._carry_out(*made)

    async def close(self) -> None:
        """Close the connection."""
        if self._producer is not None:
            await self._producer.close()

    def _command(self, act: Act, person: Person) -> tuple[str, Out] | Refused:
        """The id and the record of an act, or why there is none."""
        ident, now_s = f"{SOURCE}-{secrets.token_hex(8)}", self._clock.now_s()
        envelope = Envelope(ident, "", SOURCE, now_s, correlation_id=ident)
        if act.act in SILENCING:
            silence = silence_of(act, person, self._world.alarms, ident, now_s)
            if isinstance(silence, Refused):
                return silence
            return ident, out(self._topics.name("alerts.silences"), silence.id, silence, envelope)
        entry, definition = self._world.releases.entry(act.deployment), self._world.definition(act.deployment)
        command = command_of(act, person, entry, definition)
        if isinstance(command, Refused):
            return command
        return ident, out(self._topics.name("registry.commands"), act.deployment, command, envelope)

    async def _carry_out(self, ident: str, record: Out) -> Reply:
        """Write a command, and wait for the facts that it causes."""
        is_answered, facts = self._waiting[ident] = (asyncio.Event(), [])
        try:
            self._producer = self._producer or await self._log.producer()
            (ack,) = await self._producer.send([record])
            async with asyncio.timeout(self._answer_s):
                await is_answered.wait()
        except TimeoutError:
            _log.warning("the registry has not answered %s within %s s", ident, self._answer_s)
        except HeadraceError as error:
            return error_reply(503, f"{error}; whether it was written is not known: look at the timeline", 5.0)
        finally:
            del self._waiting[ident]
        place = base_place(f"{ack.topic}/{ack.partition}/{ack.offset}", self._topics.namespace)
        why = next((seen.event.reason for seen in facts if isinstance(seen.event, CommandRefused)), "")
        told = tuple(text for seen in facts if (text := _told(seen.event)))
        return as_json(200, ActDone(place, told, why), {"Cache-Control": "no-store"})


def _told(event: Any) -> str:
    """What followed, in one line."""
    match event:
        case SilenceSet():
            return f"silent until {format_instant(int(event.ends_s))}"
        case SilenceEnded():
            return "the silence has ended"
        case _:
            return sentence(event)


def _refused(refusal: Refused) -> Reply:
    return error_reply(refusal.status, refusal.reason)
