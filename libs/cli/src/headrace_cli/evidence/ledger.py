"""The ledger of a deployment's pages and the rates of its A/A arm, as the monitor last reported them."""

from collections.abc import Iterator
from typing import TypeVar

from rich.table import Table

from headrace.errors import Misconfigured
from headrace.events.audit import AuditReported
from headrace.events.monitor import BudgetReported
from headrace.project.applicable.wording import duration
from headrace_cli.session import Session
from headrace_cli.terminal.render import instant

_DAY_S = 86_400.0
_Reported = TypeVar("_Reported", BudgetReported, AuditReported)


async def newest_ledger(session: Session, deployment: str) -> tuple[BudgetReported | None, AuditReported | None]:
    """The newest ledger and the newest rates of the A/A arm on the log; None where there are none.

    Raises `Misconfigured` where there is neither, with the way out.
    """
    found = [message.event for message in await session.all_of("monitor.windows")]
    ledgers = [event for event in found if isinstance(event, BudgetReported) and event.deployment == deployment]
    audits = [event for event in found if isinstance(event, AuditReported) and event.deployment == deployment]
    if ledgers or audits:
        return _newest(ledgers), _newest(audits)
    declared = session.projects.declared(deployment)[1]
    if declared.charts is None:
        raise Misconfigured(f"{deployment} has no budget of pages: add monitoring=[Charts()] to its deployment")
    raise Misconfigured(
        f"no evaluation window of {deployment} has closed since its project declares Charts(): the ledger comes with the next one"
    )


def _newest(found: list[_Reported]) -> _Reported | None:
    return max(found, key=lambda event: event.at_s) if found else None


def lines_of(ledger: BudgetReported | None, audit: AuditReported | None) -> Table:
    """The ledger and the rates of the A/A arm as a table of words and figures."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    for found in (() if ledger is None else _ledger(ledger), () if audit is None else _audit(audit)):
        for name, text in found:
            table.add_row(name, text)
    return table


def _ledger(ledger: BudgetReported) -> Iterator[tuple[str, str]]:
    period = duration(ledger.period_s)
    yield from (
        ("stated", f"at most {ledger.stated:g} false page{'s' * (ledger.stated != 1)} per {period} of event time"),
        (
            "spent",
            f"{ledger.spent} in the newest {period}, {ledger.total} since {instant(ledger.since_s)}, by findings of severity page",
        ),
        ("left", f"{ledger.left:g}"),
        (
            "by theorem",
            f"a false page after {ledger.patience_s / _DAY_S:.3g} days or more in the mean, over {ledger.charts} sides of charts",
        ),
        ("measured", _measured(ledger, period)),
        ("as of", instant(ledger.at_s)),
        *(("page", f"headrace finding show {finding}") for finding in ledger.pages),
    )


def _audit(audit: AuditReported) -> Iterator[tuple[str, str]]:
    """How often the tests that judge rollouts saw a difference between the champion and itself."""
    trials = f"{audit.trials} trial{'s' * (audit.trials != 1)}"
    yield (
        "A/A arm",
        f"{audit.share:g} of the units, {trials} since {instant(audit.since_s)}, as of {instant(audit.at_s)}",
    )
    yield "false alarms", _share(audit.failed, audit.trials, audit.low, audit.high, audit.alpha)
    rollbacks = (audit.rollback_low, audit.rollback_high, audit.rollback_alpha)
    yield "rollbacks", _share(audit.rolled_back, audit.trials, *rollbacks)


def _share(count: int, trials: int, low: float, high: float, alpha: float) -> str:
    found, least, most, stated = (f"{100 * share:.3g} %" for share in (count / trials, low, high, alpha))
    return f"{count} of {trials}, {found} ({least} to {most}); stated: at most {stated}"


def _measured(ledger: BudgetReported, period: str) -> str:
    if ledger.measured is None or ledger.measured_high is None:
        return "not yet: there are too few reference windows for a bootstrap"
    high = f"at most {ledger.measured_high:.2g} in 95 % of stretches of twelve"
    return f"{ledger.measured:.2g} false pages per {period}, {high}, by a block bootstrap of the reference windows"
