"""The ledger of a deployment's pages, as the monitor last reported it."""

from rich.table import Table

from headrace.errors import Misconfigured
from headrace.events.monitor import BudgetReported
from headrace.project.applicable.wording import duration
from headrace_cli.session import Session
from headrace_cli.terminal.render import instant

_DAY_S = 86_400.0


async def newest_ledger(session: Session, deployment: str) -> BudgetReported:
    """The newest ledger on the log. Raises `Misconfigured` where there is none, with the way out."""
    found = (message.event for message in await session.all_of("monitor.windows"))
    own = [event for event in found if isinstance(event, BudgetReported) and event.deployment == deployment]
    if own:
        return max(own, key=lambda ledger: ledger.at_s)
    declared = session.projects.declared(deployment)[1]
    if declared.charts is None:
        raise Misconfigured(f"{deployment} has no budget of pages: add monitoring=[Charts()] to its deployment")
    raise Misconfigured(f"no evaluation window of {deployment} has closed yet: the ledger comes with the first one")


def lines_of(ledger: BudgetReported) -> Table:
    """The ledger as a table of words and figures."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    period = duration(ledger.period_s)
    rows = [
        ("stated", f"at most {ledger.stated:g} false pages per {period} of event time"),
        ("spent", f"{ledger.spent} in the newest {period}, {ledger.total} since {instant(ledger.since_s)}"),
        ("left", f"{ledger.left:g}"),
        (
            "by theorem",
            f"a false page after {ledger.patience_s / _DAY_S:.3g} days or more in the mean, over {ledger.charts} sides of charts",
        ),
        ("measured", _measured(ledger, period)),
        ("as of", instant(ledger.at_s)),
        *(("page", f"headrace finding show {finding}") for finding in ledger.pages),
    ]
    for name, text in rows:
        table.add_row(name, text)
    return table


def _measured(ledger: BudgetReported, period: str) -> str:
    if ledger.measured is None or ledger.measured_high is None:
        return "not yet: there are too few reference windows for a bootstrap"
    high = f"at most {ledger.measured_high:.2g} (95 %)"
    return f"{ledger.measured:.2g} false pages per {period}, {high}, by a block bootstrap of the reference windows"
