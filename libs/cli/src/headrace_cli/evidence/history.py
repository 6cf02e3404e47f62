"""The timeline and the findings of a deployment for the terminal: in 80 columns, with both clocks."""

from collections.abc import Iterable
from datetime import UTC, datetime

from rich.table import Table
from rich.text import Text

from headrace.events.monitor import FindingEvidence, Moved, Segment
from headrace.evidence.episodes import Duration, Episode, Medians
from headrace.evidence.findings import Finding, Retrain, WindowSeen, compared_by
from headrace.evidence.lines import Line, lines_of
from headrace.evidence.steps import number, sentence
from headrace_cli.terminal.render import console, harmless

MARKS = {"ok": ("●", "green"), "attention": ("◆", "yellow"), "page": ("▲", "bold red"), "unknown": ("○", "dim")}


def lasted(seconds: float | None) -> str:
    """A duration as a person says it: the two largest units, "-" for None.

    >>> lasted(None), lasted(0.2), lasted(41), lasted(7_800), lasted(266_400), lasted(1_209_600)
    ('-', '0.2 s', '41 s', '2 h 10 min', '3 d 2 h', '14 d')
    """
    if seconds is None:
        return "-"
    if seconds < 10:
        return f"{round(seconds, 1):g} s"
    whole = round(seconds)
    for size, unit, below, smaller in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // below
            return f"{whole // size} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{whole} s"


def stamp(time_s: float | None, form: str) -> str:
    """An instant in UTC; "-" for None."""
    return "-" if time_s is None else datetime.fromtimestamp(time_s, UTC).strftime(form)


def counted(shown: int, every: int) -> str:
    """How many episodes are shown, and of how many.

    >>> counted(1, 1), counted(7, 7), counted(5, 7)
    ('1 episode', '7 episodes', 'the newest 5 of 7 episodes')
    """
    if shown < every:
        return f"the newest {shown} of {every} episodes"
    return "1 episode" if shown == 1 else f"{shown} episodes"


def show_timeline(deployment: str, episodes: Iterable[Episode], known: Medians, every: int) -> None:
    """Episodes, oldest first. `every`: how many there are, with those that are not shown."""
    shown = list(episodes)
    one = counted(len(shown), every)
    console.print(Text.assemble((harmless(deployment), "bold"), f"  {one}, times in UTC"))
    if known.detected:
        of = "1 episode" if known.detected == 1 else f"{known.detected} episodes"
        console.print(Text(f"median MTTD {lasted(known.mttd_event_s)} event time, of {of}", "dim"))
    if known.repaired:
        of = "1 episode" if known.repaired == 1 else f"{known.repaired} episodes"
        clocks = f"{lasted(known.mttr_event_s)} event time, {lasted(known.mttr_wall_s)} wall clock"
        console.print(Text(f"median MTTR {clocks}, of {of}", "dim"))
    for episode in shown:
        console.print()
        show_episode(episode)


def show_episode(episode: Episode) -> None:
    """One episode: its title, where it stands, its durations, and its lines."""
    mark, style = MARKS[episode.mark]
    how = (
        f"{episode.state}, {episode.how}"
        if episode.how and episode.state == "running"
        else episode.how or episode.state
    )
    console.print(Text.assemble((mark, style), " ", (harmless(episode.title), "bold"), f"  ({how})"))
    if episode.findings:
        for name, found in (("MTTD", episode.mttd), ("MTTR", episode.mttr)):
            console.print(Text(f"  {name} {duration(found)}", "dim"))
    event = _dates(episode.since_event_s, episode.until_event_s)
    wall = _dates(episode.since_wall_s, episode.until_wall_s)
    console.print(Text(f"  {event} event time, {wall} wall clock", "dim"))
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for column in ("", "event time", "wall clock", "after"):
        table.add_column(column, no_wrap=True, header_style="dim", justify="left" if column != "after" else "right")
    table.add_column("", overflow="fold")
    lines = lines_of(episode)
    years = {stamp(line.event_s, "%Y") for line in lines}
    days = {stamp(line.wall_s, "%m-%d") for line in lines}
    forms = ("%Y-%m-%d %H:%M" if len(years) > 1 else "%m-%d %H:%M", "%m-%d %H:%M:%S" if len(days) > 1 else "%H:%M:%S")
    for line in lines:
        add_line(table, line, forms)
    console.print(table)
    if episode.left_out:
        console.print(Text(f"  {episode.left_out} steps after the first are not held any more", "dim"))


def _dates(from_s: float | None, to_s: float | None) -> str:
    first, last = stamp(from_s, "%Y-%m-%d"), stamp(to_s, "%Y-%m-%d")
    return first if first == last else f"{first} .. {last}"


def duration(found: Duration) -> str:
    """A duration by both clocks, each with its name, or why it is not known."""
    if found.event_s is None and found.wall_s is None:
        return f"not known: {found.text}"
    clocks = [f"{lasted(found.event_s)} event time"] if found.event_s is not None else []
    clocks += [f"{lasted(found.wall_s)} wall clock"] if found.wall_s is not None else []
    return f"{', '.join(clocks)} ({found.text.removeprefix('from the finding ')})"


def add_line(table: Table, line: Line, forms: tuple[str, str]) -> None:
    """One line of an episode as a row; `forms`: of its event time and of its wall-clock time."""
    mark, style = MARKS[line.state]
    since = "" if line.since_wall_s is None else f"+{lasted(line.since_wall_s)}"
    text = Text.assemble(harmless(line.text), "  ", (harmless(shorter(line.place)), "dim"))
    table.add_row(
        Text(mark, style), stamp(line.event_s, forms[0]), stamp(line.wall_s, forms[1]), Text(since, "dim"), text
    )


def shorter(place: str) -> str:
    """A place without the version of its topic, as `headrace topic show` takes it.

    >>> shorter("registry.facts.v1/0/12")
    'registry.facts/0/12'
    """
    return place.replace(".v1/", "/", 1)


def finding_row(found: Finding) -> dict[str, str | float | None]:
    """A finding as a row of a table."""
    since_s = found.changed_at_s if found.changed_at_s is not None else found.window_from_s
    return {
        "finding": found.finding[:8],
        "deployment": found.deployment,
        "kind": found.kind,
        "since": stamp(since_s, "%Y-%m-%d %H:%M"),
        "found": stamp(found.at_s, "%Y-%m-%d %H:%M"),
        "resolved": stamp(found.resolved_s, "%Y-%m-%d %H:%M"),
        "summary": found.summary,
    }


def show_finding(found: Finding) -> None:
    """One finding as a story."""
    mark, style = MARKS["ok" if not found.is_open else "attention"]
    state = f"{'open' if found.is_open else 'resolved'}, {found.severity}"
    console.print(Text.assemble((mark, style), " ", (f"{found.kind} of {found.deployment}", "bold"), f"  ({state})"))
    console.print(Text(harmless(f"  {found.summary}")))
    about = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    for name, value in _about(found):
        about.add_row(Text(f"  {name}", "dim"), Text(harmless(value)))
    console.print(about)


def _about(found: Finding) -> Iterable[tuple[str, str]]:
    yield "moved", _moved(found)
    yield "changed", f"{stamp(found.changed_at_s, '%Y-%m-%d %H:%M')} event time"
    yield from _evidence(found.evidence, found.kind)
    yield "found", _at(found.at_s, found.wall_s, found.place)
    for name, window in (("before", found.before), ("found in", found.found_in), ("newest", found.after)):
        if window is not None:
            yield f"window {name}", _window(window)
    for retrain in found.retrains:
        yield "retrain", f"{_retrain(retrain)}  {shorter(retrain.end_place)}"
        if retrain.gained is not None:
            yield "gained", sentence(retrain.gained)
    if not found.retrains:
        yield "retrain", "none was requested"
    if found.resolved_s is not None and found.resolved_wall_s is not None:
        yield "resolved", f"{_at(found.resolved_s, found.resolved_wall_s, found.resolved_place)}: {found.resolved}"


def _moved(found: Finding) -> str:
    """What was measured of what, and by whom."""
    figures = [number(found.measured) if found.measured is not None else "unmeasured"]
    back = [f"resolved at {number(found.back_at)}"] if found.back_at is not None else []
    limit = "" if found.limit is None else number(found.limit)
    if found.kind == "drift":
        # NB: the limit is that of the detector's statistic, and not of the figure.
        seen = found.found_in
        about = found.about or (seen.loss_name if seen is not None and seen.loss is not None else "loss")
        passed = f"its statistic passed {limit}" if limit else "its statistic passed its limit"
        return f"{about}: {', '.join([*figures, *back])} (detector {found.detector or '-'}: {passed})"
    figures += [f"limit {limit}"] if limit else []
    about = found.about or "the deployment as a whole"
    return f"{about}: {', '.join([*figures, *back])} (detector {found.detector or '-'})"


def _evidence(evidence: FindingEvidence | None, kind: str) -> Iterable[tuple[str, str]]:
    """What a finding rests on, one line per subject; a subject of which nothing is known says so or has no line."""
    if evidence is None:
        yield "evidence", "not recorded: the finding is older than the monitor that records it"
        return
    if evidence.first_at_s is not None:
        place = shorter(evidence.first_place) or "no record shows it"
        yield "first", f"{stamp(evidence.first_at_s, '%Y-%m-%d %H:%M:%S')} event time  {place}"
    yield "segment", segment_text(evidence.segment, kind)
    if evidence.moved:
        yield "moved with it", ", ".join(map(moved_text, evidence.moved))
    if evidence.producers:
        yield "changed too", ", ".join(evidence.producers)
    if evidence.charts:
        yield "other charts", ", ".join(evidence.charts)
    if evidence.requests:
        yield "requests", ", ".join(evidence.requests[:3]) + (", ..." if len(evidence.requests) > 3 else "")


def segment_text(segment: Segment | None, kind: str) -> str:
    """The segment of a finding of a kind in words.

    >>> segment_text(Segment("carrier", "UA", 300, 0.25, 0.9, 0.4, 0.75), "labels")
    'carrier UA: .9 there, .4 in the rest (share without a label); 300 requests (25 %) account for 75 % of the change'
    """
    if segment is None:
        return "no part of the requests stands out"
    figures = f"{number(segment.measured)} there, {number(segment.rest)} in the rest ({compared_by(kind)})"
    share = f"{segment.rows:,} requests ({segment.share:.0%}) account for {segment.explains:.0%} of the change"
    return f"{segment.column} {segment.value}: {figures}; {share}".replace("%", " %")


def moved_text(moved: Moved) -> str:
    """A column that moved with a finding.

    >>> moved_text(Moved("temp", "null_share", 0.5, 0.01)), moved_text(Moved("temp", "psi", 0.4))
    ('temp (null share .5, usually .01)', 'temp (psi .4)')
    """
    usually = "" if moved.before is None else f", usually {number(moved.before)}"
    return f"{moved.column} ({moved.statistic.replace('_', ' ')} {number(moved.measured)}{usually})"


def _at(event_s: float, wall_s: float, place: str) -> str:
    event, wall = stamp(event_s, "%Y-%m-%d %H:%M"), stamp(wall_s, "%Y-%m-%d %H:%M:%S")
    return f"{event} event time, {wall} by the wall clock  {shorter(place)}"


def _window(window: WindowSeen) -> str:
    span = f"{stamp(window.from_s, '%Y-%m-%d %H:%M')} .. {stamp(window.to_s, '%Y-%m-%d %H:%M')}"
    loss = (
        "unmeasured" if window.loss is None else f"{window.loss_name} of version {window.version} {number(window.loss)}"
    )
    why = f" ({window.unmeasured})" if window.unmeasured else ""
    return f"{span}  {loss}{why}, {window.labelled:,} of {window.requests:,} labelled  {shorter(window.place)}"


def _retrain(retrain: Retrain) -> str:
    at = stamp(retrain.at_s, "%Y-%m-%d %H:%M")
    run = f" as run {retrain.run[:8]}" if retrain.run else ""
    outcome = f", {retrain.outcome}" if retrain.outcome else ""
    version = f" as version {retrain.version}" if retrain.version is not None else ""
    reason = f": {retrain.reason}" if retrain.reason else ""
    return f"{at} {retrain.answer or 'requested'}{run}{outcome}{version}{reason}"
