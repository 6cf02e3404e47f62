"""`headrace deployment list|show|timeline`."""

import asyncio
import json
import time
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer

from headrace.durations import seconds
from headrace.errors import Misconfigured, Poison
from headrace.events.verdicts import VerdictGiven
from headrace.evidence.episodes import Episode, medians
from headrace.evidence.findings import TOPICS as FINDING_TOPICS
from headrace.evidence.findings import Findings
from headrace.evidence.records import read_history
from headrace.evidence.steps import words
from headrace.evidence.timeline import TOPICS, Timeline
from headrace.log.codec import Message
from headrace.log.envelope import parse_instant
from headrace.log.views import View
from headrace_cli.evidence.history import MARKS, shorter, show_timeline, stamp
from headrace_cli.evidence.rollouts import Board
from headrace_cli.evidence.status import deployments
from headrace_cli.session import Session, plain, run
from headrace_cli.terminal.numbers import MOST_SHOWN
from headrace_cli.terminal.render import console, harmless, show

app = typer.Typer(help="Deployments: what each does now, and how it came to be so.", no_args_is_help=True)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
# The whole log is read: nothing is left out.
_ALL = 1_000_000_000
_FACTS = "registry.facts.v1"
_COLUMNS = ("deployment", "project", "champion", "rollout", "findings", "shadows", "degraded")


@app.callback()
def _group() -> None:
    """Deployments."""


@app.command("list")
def list_deployments(as_json: AsJson = False) -> None:
    """List the deployments with champion, rollout and open findings."""

    async def work(session: Session) -> list[dict[str, Any]]:
        return await rows_of(session, await _history(session))

    show(run(work), _COLUMNS, as_json=as_json, empty="no project is applied: `headrace apply PROJECT`")


@app.command("show")
def show_deployment(deployment: str, as_json: AsJson = False) -> None:
    """Show one deployment: its route, its rollout, its open findings, and its newest episodes."""

    async def work(session: Session) -> dict[str, Any]:
        session.projects.declared(deployment)
        messages = await _history(session)
        row = next(row for row in await rows_of(session, messages) if row["deployment"] == deployment)
        episodes = _timeline(messages).episodes(deployment, 5)
        findings = _findings(messages).of(deployment, only_open=True)
        newest = [
            {"title": one.title, "state": one.state, "how": one.how, "standing": one.standing} for one in episodes
        ]
        return row | {"open_findings": plain(findings), "newest_episodes": newest}

    found = run(work)
    if as_json:
        return print(json.dumps(found, indent=2, default=str))
    show([found], _COLUMNS, as_json=False, empty="")
    for finding in found["open_findings"]:
        _line(f"◆ {finding['kind']} finding {finding['finding']}: {finding['summary']}")
    for episode in reversed(found["newest_episodes"]):
        _line(f"  {in_a_line(**episode)}")
    return _line(f"`headrace deployment timeline {deployment}` shows every step with its record")


def in_a_line(title: str, state: str, how: str, standing: str) -> str:
    """An episode: its title, how it ended unless the title ends so, and where it stands.

    >>> in_a_line("drift → retrain → gates → switch", "ended", "promoted", "version 2 is champion")
    'drift → retrain → gates → switch (promoted): version 2 is champion'
    """
    end = how or state
    return f"{title}{'' if title.endswith(end) else f' ({end})'}: {standing}"


@app.command("timeline")
def timeline(
    deployment: str,
    last: Annotated[int, typer.Option(min=1, max=MOST_SHOWN, help="How many of the newest episodes.")] = 5,
    since: Annotated[
        str | None,
        typer.Option(help="Only episodes with a record appended since: 2h, 7d, or an instant."),
    ] = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Continue with new steps.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what happened to a deployment, and why: each episode from its cause to its end, every step with its record.

    An episode is one story: a finding, the retrain that it caused, its gates, the rollout of its version, and its end; or
    a person's command and what followed. MTTD is the time from the change to its finding, MTTR from there to a version
    that takes all traffic or to the finding's end; medians are over all episodes.
    """
    from_s = None if since is None else _since_s(since)

    async def work(session: Session) -> None:
        if follow:
            return await _follow(session, deployment, last, from_s, as_json)
        found = _timeline(await _history(session))
        _refuse_empty(session, found, deployment)
        _print(deployment, _chosen(found, deployment, last, from_s), found, as_json)
        return None

    run(work)


def _chosen(found: Timeline, deployment: str, last: int, from_s: float | None) -> list[Episode]:
    every = [one for one in found.episodes(deployment) if from_s is None or one.until_wall_s >= from_s]
    return every[-last:]


def _print(deployment: str, episodes: list[Episode], found: Timeline, as_json: bool) -> None:
    known = medians(found.episodes(deployment))
    if as_json:
        print(json.dumps({"deployment": deployment, "medians": plain(known), "episodes": plain(episodes)}, indent=2))
    elif not episodes:
        console.print(f"nothing has happened to {harmless(deployment)} since then", markup=False)
    else:
        show_timeline(deployment, episodes, known, len(found.episodes(deployment)))


async def _follow(session: Session, deployment: str, last: int, from_s: float | None, as_json: bool) -> None:
    """Show the timeline, then each new step in one line."""
    found, changed = Timeline(), asyncio.Event()

    def take(message: Message) -> None:
        if found.take(message) == deployment:
            changed.set()

    view = View(session.log, session.codec, [session.topics.name(base) for base in TOPICS], take)
    await view.start()
    _refuse_empty(session, found, deployment)
    following = asyncio.create_task(view.follow())
    try:
        if not as_json:
            _print(deployment, _chosen(found, deployment, last, from_s), found, as_json=False)
        printed = {step.id for one in found.episodes(deployment) for step in one.steps} if not as_json else set()
        while True:
            changed.clear()
            printed |= _print_new(found, deployment, printed, as_json)
            await changed.wait()
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await view.stop()


def _print_new(found: Timeline, deployment: str, printed: set[str], as_json: bool) -> set[str]:
    """Print the steps that are not printed yet; returns their ids."""
    new = [(one, step) for one in found.episodes(deployment) for step in one.steps if step.id not in printed]
    for episode, step in sorted(new, key=lambda pair: pair[1].wall_s):
        if as_json:
            print(json.dumps({"episode": episode.id, "title": episode.title} | plain(step)), flush=True)
        else:
            event = stamp(step.event_s, "%Y-%m-%d %H:%M")
            _line(
                f"{MARKS[step.state][0]} {event} {stamp(step.wall_s, '%H:%M:%S')} {step.sentence}  {shorter(step.place)}"
            )
    return {step.id for _, step in new}


async def _history(session: Session) -> list[Message]:
    """What the log holds of deployments; findings and rollouts are read from some of these topics."""
    return await read_history(session.log, session.codec, session.topics, TOPICS)


def _timeline(messages: Iterable[Message]) -> Timeline:
    found = Timeline(most_episodes=_ALL, most_steps=_ALL)
    for message in messages:
        found.take(message)
    return found


def _findings(messages: Iterable[Message]) -> Findings:
    found = Findings(most=_ALL)
    for message in messages:
        found.take(message)
    return found


async def read_findings(session: Session) -> Findings:
    """All findings that the log holds."""
    return _findings(await read_history(session.log, session.codec, session.topics, FINDING_TOPICS))


async def rows_of(session: Session, messages: Sequence[Message]) -> list[dict[str, Any]]:
    """A row per applied deployment: its route, its rollout, and the number of its open findings."""
    board, findings = Board(), _findings(messages)
    for message in messages:
        if isinstance(message.event, VerdictGiven) or session.topics.base(message.record.topic) == _FACTS:
            board.take(message)
    rollouts = {row["deployment"]: row for row in board.rows(None)}
    return [
        row | _now(rollouts.get(row["deployment"]), len(findings.of(row["deployment"], only_open=True)))
        for row in await deployments(session)
    ]


def _now(rollout: dict[str, Any] | None, findings: int) -> dict[str, Any]:
    """The rollout and the number of open findings of a deployment."""
    running = None if rollout is None or rollout["state"] == "none" else rollout
    text = f"{words(running['policy'])} of {running['version']}: {running['state']}" if running else None
    return {"rollout": text, "rollout_state": running, "findings": findings}


def _refuse_empty(session: Session, found: Timeline, deployment: str) -> None:
    """A deployment that is not declared any more may still have a history."""
    if deployment not in found.deployments:
        session.projects.declared(deployment)
        raise Misconfigured(
            f"nothing has happened to {deployment} yet: no version, no finding, no command (`headrace deployment list`)"
        )


def _since_s(text: str) -> float:
    try:
        return parse_instant(text)
    except Poison:
        pass
    try:
        return time.time() - seconds(text)
    except Misconfigured:
        raise Misconfigured(f"--since takes 2h, 7d or an instant such as 2026-04-01T12:00:00Z, got {text!r}") from None


def _line(text: str) -> None:
    console.print(harmless(text), highlight=False, markup=False, soft_wrap=True)
