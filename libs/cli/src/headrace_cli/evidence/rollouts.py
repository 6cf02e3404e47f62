"""The state of rollouts: the registry's facts and the monitor's newest verdicts, as rows and as a view for the terminal."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from headrace.events.verdicts import Evidence, VerdictGiven
from headrace.evidence.rollouts import waits_for
from headrace.log.codec import Message
from headrace.registry.state import Entry, Fold, Rollout
from headrace_cli.terminal.render import cell, harmless, instant, plain_text

TOPICS = ("registry.facts", "monitor.verdicts")
_COLOURS = {"PASS": "green", "FAIL": "bold red", "INCONCLUSIVE": "yellow", "UNMEASURED": "dim"}


class Board:
    """The state of all rollouts, fed message by message."""

    def __init__(self) -> None:
        self.fold = Fold()
        self.verdicts: dict[str, VerdictGiven] = {}
        self.changes = 0

    def take(self, message: Message) -> None:
        """Take a fact or a verdict."""
        self.changes += 1
        if isinstance(message.event, VerdictGiven):
            self.verdicts[message.event.rollout] = message.event
        else:
            self.fold.take(message.event, message.envelope.id)

    def entries(self, deployment: str | None) -> Mapping[str, Entry]:
        """All deployments, or the given one."""
        entries = self.fold.state.entries
        return entries if deployment is None else {n: e for n, e in entries.items() if n == deployment}

    def rows(self, deployment: str | None) -> list[dict[str, Any]]:
        """A row per deployment: its running rollout, else the one that ended last."""
        return [self.row(name, entry) for name, entry in sorted(self.entries(deployment).items())]

    def row(self, name: str, entry: Entry) -> dict[str, Any]:
        """The row of one deployment."""
        base = {
            "deployment": name,
            "champion": entry.aliases.get("champion"),
            "previous": entry.aliases.get("previous"),
            "queued": entry.queued.version if entry.queued else None,
            "shares": {} if entry.route is None else {str(v): share for v, share in entry.route.shares.items()},
        }
        rollout = entry.rollout or (entry.last.rollout if entry.last else None)
        if rollout is None:
            return base | {"state": "none"}
        return base | self._of_rollout(name, entry, rollout)

    def _of_rollout(self, name: str, entry: Entry, rollout: Rollout) -> dict[str, Any]:
        verdict = self.verdicts.get(rollout.id)
        ended = entry.last if entry.rollout is None else None
        state = ended.outcome if ended else (rollout.step if rollout.standing == "running" else rollout.standing)
        return {
            "state": state,
            "rollout": rollout.id,
            "version": rollout.version,
            "control": rollout.control,
            "policy": rollout.plan.policy,
            "step": rollout.step,
            "number": rollout.number,
            "share": rollout.share,
            "since": None if rollout.since_s is None else instant(rollout.since_s),
            "reason": ended.reason if ended else rollout.reason,
            "guardrails": verdict.guardrails if verdict else None,
            "labels": verdict.labels if verdict else None,
            "clock": instant(verdict.clock_s) if verdict and verdict.has_clock else None,
            "step_decisions": verdict.step_decisions if verdict else 0,
            "decisions": verdict.decisions if verdict else 0,
            "label_count": verdict.label_count if verdict else 0,
            "blocks": verdict.blocks if verdict else 0,
            "cycles": verdict.cycles if verdict else 0,
            "evidence": [_evidence(found) for found in verdict.evidence] if verdict else [],
            "waits_for": None if ended else waits_for(name, rollout, verdict, entry.approvals.get(rollout.version)),
        }

    def is_over(self, deployment: str) -> bool:
        """Whether no rollout of the deployment is running."""
        return all(entry.rollout is None for entry in self.entries(deployment).values())

    def picture(self, deployment: str | None) -> RenderableType:
        """The whole state, for a person."""
        rows = self.rows(deployment)
        return Group(*[part for row in rows for part in _picture(row)]) if rows else Text("no versions yet")


def _evidence(found: Evidence) -> dict[str, Any]:
    return {name: getattr(found, name) for name in found.__struct_fields__}


def _picture(row: Mapping[str, Any]) -> list[RenderableType]:
    if row["state"] == "none":
        return [Text.from_markup(f"[bold]{row['deployment']}[/]  champion {cell(row['champion'])}, no rollout yet")]
    parts: list[RenderableType] = [Text.from_markup(_headline(row)), Text.from_markup(_traffic(row))]
    if row["reason"]:
        parts.append(Text(harmless(f"  {row['reason']}"), style="dim"))
    if row["waits_for"]:
        parts.append(Text(f"  waits for {row['waits_for']}"))
    if row["guardrails"] is not None:
        parts.append(Text.from_markup(_verdict(row)))
    if row["evidence"]:
        parts.append(_evidence_table(row["evidence"]))
    return parts


def _headline(row: Mapping[str, Any]) -> str:
    compared = "" if row["control"] is None else f" against {row['control']}"
    since = f" since {row['since']}" if row["since"] else ""
    return f"[bold]{row['deployment']}[/]  {row['policy']} of version {row['version']}{compared}: [bold]{row['state']}[/]{since}"


def _traffic(row: Mapping[str, Any]) -> str:
    shares = ", ".join(f"version {version} {_bar(share)} {share:.3g}" for version, share in row["shares"].items())
    queued = "" if row["queued"] is None else f"; version {row['queued']} waits"
    return f"  traffic: {shares or 'the prior answers'}{queued}"


def _bar(share: float) -> str:
    full = round(share * 20)
    return "█" * full + "░" * (20 - full)


def _verdict(row: Mapping[str, Any]) -> str:
    counts = (
        f"{row['step_decisions']:,} decisions in this step, {row['label_count']:,} labels in {row['blocks']:,} blocks"
        f" and {row['cycles']:,} cycles"
    )
    verdicts = f"guardrails {_coloured(row['guardrails'])}, labels {_coloured(row['labels'])}"
    return f"  {verdicts}  [dim]{counts}; clock {row['clock'] or 'does not run yet'}[/]"


def _coloured(verdict: str) -> str:
    return f"[{_COLOURS.get(verdict, '')}]{verdict}[/]"


def _evidence_table(evidence: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=True)
    for column in ("metric", "verdict", "measured", "limit", "rows", "blocks", "detail"):
        table.add_column(column, overflow="fold")
    for found in evidence:
        verdict = Text.from_markup(_coloured(found["verdict"]))
        cells = [cell(found[name]) for name in ("measured", "limit", "rows", "blocks")]
        table.add_row(
            found["metric"], verdict, *cells, plain_text("; ".join(filter(None, (found["bound"], found["detail"]))))
        )
    return table
