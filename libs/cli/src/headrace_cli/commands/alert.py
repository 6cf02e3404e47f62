"""`headrace alert list|silence|unsilence|silences|forward`."""

import logging
import os
import secrets
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from headrace.durations import seconds
from headrace.errors import Misconfigured
from headrace.events.alerts import AlertChanged, SilenceEnded, SilenceSet
from headrace.hosting import silences as rules
from headrace.hosting.alerts import is_watchdog
from headrace.hosting.settings import Settings
from headrace.log.codec import Message
from headrace_cli.evidence.registry import me
from headrace_cli.installation.local import environ_here
from headrace_cli.session import Session, plain, run
from headrace_cli.terminal.pairs import pairs
from headrace_cli.terminal.reasons import Reason
from headrace_cli.terminal.render import console, harmless, instant, show, show_result

app = typer.Typer(help="Alerts: which ones fire, what to do about them, and silences.", no_args_is_help=True)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_TOPIC = "alerts.silences"


@app.callback()
def _group() -> None:
    """Alerts."""


@app.command("list")
def list_alerts(
    all_of_them: Annotated[bool, typer.Option("--all", help="Include resolved alerts.")] = False,
    as_json: AsJson = False,
) -> None:
    """List firing alerts, each with a command to investigate it, and the silence that covers it."""

    async def work(session: Session) -> list[dict]:
        now_s, silences = session.clock.now_s(), await _silences(session)
        alerts = [alert for alert in await _alerts(session) if all_of_them or alert.status == "firing"]
        return [row_of(alert, silences, now_s) for alert in alerts]

    rows = run(work)
    if as_json or not rows:
        return show(rows, (), as_json=as_json, empty="no alert is firing")
    return _show_alerts(rows, with_status=all_of_them)


@app.command("silence")
def silence(
    reason: Reason,
    for_: Annotated[str, typer.Option("--for", help="How long from now: 30m, 2h, 7d; 90d at most.")],
    deployment: Annotated[str | None, typer.Argument(help="All alerts about this deployment.")] = None,
    match: Annotated[
        list[str] | None,
        typer.Option("--match", help="A label that an alert must have, as name=value; several are ANDed."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Send no notification of some alerts for a while; they open and end as ever, and stay in `alert list`."""
    matchers = _matchers(deployment, match or ())
    lasts_s = seconds(for_)
    if lasts_s <= 0:
        raise Misconfigured(f"--for must be above 0, such as 2h, got {for_!r}")

    async def work(session: Session) -> dict[str, Any]:
        if deployment is not None:
            session.projects.declared(deployment)
        now_s = session.clock.now_s()
        found = SilenceSet(f"silence-{secrets.token_hex(4)}", matchers, now_s, now_s + lasts_s, me(), reason)
        _check(found, now_s)
        if len(rules.in_force(await _silences(session), now_s)) >= rules.MOST:
            raise Misconfigured(f"{rules.MOST:,} silences are in force already: `headrace alert silences` shows them")
        await session.send(_TOPIC, found.id, found, f"cli-{found.id}")
        covered = [alert for alert in await _alerts(session) if _is_covered(found, alert, now_s)]
        return plain(found) | {"covers": len(covered)}

    made = run(work)
    ends = f'`headrace alert unsilence {made["id"]} --reason "..."` ends it before'
    line = f"{made['id']} is set until {instant(made['ends_s'])} UTC and covers {made['covers']} of the firing alerts; {ends}"
    show_result(made, as_json=as_json, line=line)


def _matchers(deployment: str | None, match: Sequence[str]) -> dict[str, str]:
    """The labels that an alert must have, at least one, each with one value. Raises `Misconfigured`."""
    found = pairs(match, "--match")
    for name, value in found.items():
        if not value:
            raise Misconfigured(f"--match {name}= has no value, which no alert has: --match {name}=VALUE")
    if deployment is not None and found.setdefault("deployment", deployment) != deployment:
        raise Misconfigured(
            f"two deployments are named, {deployment!r} and --match deployment={found['deployment']}: an alert is about one"
        )
    if not found:
        raise Misconfigured("which alerts? Name a deployment, or --match alertname=Overload")
    return found


@app.command("unsilence")
def unsilence(
    ident: Annotated[str, typer.Argument(metavar="ID", help="As shown by `alert silences`.")],
    reason: Reason,
    as_json: AsJson = False,
) -> None:
    """End a silence before its time."""

    async def work(session: Session) -> dict[str, Any]:
        now_s = session.clock.now_s()
        known = rules.in_force(await _silences(session), now_s)
        if ident not in known:
            shown = ", ".join(sorted(known)[:5]) or "there is none"
            raise Misconfigured(f"no silence {ident!r} is in force ({shown}): `headrace alert silences`")
        ended = SilenceEnded(ident, me(), reason)
        _check(ended, now_s)
        await session.send(_TOPIC, ident, ended, f"cli-{secrets.token_hex(8)}")
        return plain(ended)

    show_result(run(work), as_json=as_json, line=f"{ident} is over")


@app.command("silences")
def list_silences(as_json: AsJson = False) -> None:
    """List the silences that are in force, or begin later, and how many firing alerts each covers."""

    async def work(session: Session) -> list[dict]:
        now_s = session.clock.now_s()
        known = rules.in_force(await _silences(session), now_s).values()
        alerts = await _alerts(session)
        return [
            {
                "id": found.id,
                "labels": [f"{name}={value}" for name, value in sorted(found.matchers.items())],
                "from": instant(found.starts_s),
                "until": instant(found.ends_s),
                "by": found.by,
                "reason": found.reason,
                "covers": sum(_is_covered(found, alert, now_s) for alert in alerts),
                "payload": plain(found),
            }
            for found in sorted(known, key=lambda one: (one.ends_s, one.id))
        ]

    rows = run(work)
    if as_json or not rows:
        return show(rows, (), as_json=as_json, empty="no silence is in force")
    return _show_silences(rows)


@app.command("forward")
def forward() -> None:
    """Send alerts to the receivers that are set (Alertmanager, webhooks, Slack), until it is ended. `headrace up` does it by itself."""
    # NB: only here, since it opens a connection pool and the other commands start faster without it.
    from headrace_cli.forwarding.app import main
    from headrace_cli.forwarding.receivers import required_receivers

    os.environ.update(environ_here())
    required_receivers(Settings.load())
    for logger in ("headrace", "asyncio"):
        logging.getLogger(logger).setLevel(logging.NOTSET)  # it is a service: its lines are what it says
    raise typer.Exit(main())


def _show_alerts(rows: Sequence[dict], *, with_status: bool) -> None:
    """A line per alert, and below it what it says and what to do: readable in 80 columns."""
    for row in rows:
        status = f"{row['status']} " if with_status else ""
        _line(f"{status}{row['severity']}  {row['alert']}  {row['about']}  since {row['since']}")
        for name in ("silenced", "summary", "description", "command", "runbook"):
            if row[name]:
                _line(f"  {row[name]}" if name != "silenced" else f"  silenced {row[name]}")


def _show_silences(rows: Sequence[dict]) -> None:
    """A line per silence with its id whole, and below it what it is for."""
    for row in rows:
        _line(f"{row['id']}  {row['from']} .. {row['until']} UTC  covers {row['covers']}")
        _line(f"  {', '.join(row['labels'])}")
        _line(f"  by {row['by']}: {row['reason']}")


def _line(text: str) -> None:
    console.print(harmless(text), highlight=False, markup=False, emoji=False, soft_wrap=True)


async def _alerts(session: Session) -> list[AlertChanged]:
    """The newest record of each alert, without the dead-man record."""
    alerts = [message.event for message in (await session.current_of("alerts")).values()]
    return [alert for alert in alerts if not is_watchdog(alert)]


async def _silences(session: Session) -> dict[str, SilenceSet]:
    return folded(await session.all_of(_TOPIC))


def folded(messages: Sequence[Message]) -> dict[str, SilenceSet]:
    """The silences that records leave, as the monitor takes them: one that it refuses counts for nothing."""
    found: dict[str, SilenceSet] = {}
    for message in messages:
        key, append_s = (message.record.key or b"").decode("utf-8", "replace"), message.record.timestamp_ms / 1000
        found = rules.taken(found, message.event, key, append_s)
    return found


def _check(event: SilenceSet | SilenceEnded, now_s: float) -> None:
    refused = rules.why_not(event, now_s)
    if refused is not None:
        raise Misconfigured(refused[0])


def _is_covered(found: SilenceSet, alert: AlertChanged, now_s: float) -> bool:
    return alert.status == "firing" and rules.is_covered(found, alert.labels, now_s)


def row_of(alert: AlertChanged, silences: dict[str, SilenceSet], now_s: float) -> dict:
    """An alert in the list, with the silence that covers it at `now_s`."""
    about = {name: value for name, value in alert.labels.items() if name not in ("alertname", "severity")}
    found = rules.covering(silences.values(), alert.labels, now_s) if alert.status == "firing" else None
    return {
        "status": alert.status,
        "alert": alert.labels["alertname"],
        "severity": alert.labels["severity"],
        "about": " ".join(f"{name}={value}" for name, value in about.items()),
        "since": alert.starts_at,
        "silenced": "" if found is None else f"until {instant(found.ends_s)} by {found.by}: {found.reason}",
        "summary": alert.annotations["summary"],
        "description": alert.annotations.get("description", ""),
        "command": alert.annotations["command"],
        "runbook": alert.annotations["runbook_url"],
        "payload": plain(alert),
    }
