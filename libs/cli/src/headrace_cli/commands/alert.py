"""`headrace alert list|silence|unsilence|silences`."""

import secrets
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from headrace.durations import seconds
from headrace.errors import Misconfigured
from headrace.events.alerts import AlertChanged, SilenceEnded, SilenceSet
from headrace.hosting import silences as rules
from headrace.log.codec import Message
from headrace_cli.evidence.registry import me
from headrace_cli.session import Session, plain, run
from headrace_cli.terminal.pairs import pairs
from headrace_cli.terminal.reasons import Reason
from headrace_cli.terminal.render import instant, show, show_result

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

    columns = ["severity", "alert", "about", "since", "silenced", "summary", "command", "runbook"]
    columns = ["status", *columns] if all_of_them else columns
    show(run(work), columns, as_json=as_json, empty="no alert is firing")


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
    matchers = pairs(match or (), "--match") | ({} if deployment is None else {"deployment": deployment})
    if not matchers:
        raise Misconfigured("which alerts? Name a deployment, or --match alertname=Overload")
    lasts_s = seconds(for_)

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
    ends = f"`headrace alert unsilence {made['id']}` ends it before"
    line = f"{made['id']} is set until {instant(made['ends_s'])} UTC and covers {made['covers']} of the firing alerts; {ends}"
    show_result(made, as_json=as_json, line=line)


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

    columns = ["id", "labels", "from", "until", "by", "reason", "covers"]
    show(run(work), columns, as_json=as_json, empty="no silence is in force")


async def _alerts(session: Session) -> list[AlertChanged]:
    return [message.event for message in (await session.current_of("alerts")).values()]


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
        "command": alert.annotations["command"],
        "runbook": alert.annotations["runbook_url"],
        "payload": plain(alert),
    }
