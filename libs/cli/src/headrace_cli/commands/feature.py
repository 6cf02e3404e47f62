"""`headrace feature list|show|get`."""

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import typer

from headrace.errors import Misconfigured, Poison
from headrace.events.definition import FeatureDefinition, ProjectDefinition, ViewDefinition
from headrace.features.as_of import as_of
from headrace.features.entities import named_by
from headrace.features.events import EventTable
from headrace.features.plan import ViewPlan, kinds_of, plan_view
from headrace.features.store import OnlineStore
from headrace.log.envelope import parse_instant
from headrace.log.reading import pin_offsets, read_up_to
from headrace.log.views import View
from headrace.project.rules import pane_width_s
from headrace_cli.session import Session, plain, run
from headrace_cli.terminal.render import console, instant, show, show_result

app = typer.Typer(help="Feature views and their values.", no_args_is_help=True)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback()
def _group() -> None:
    """Feature views and their values."""


@app.command("list")
def list_views(as_json: AsJson = False) -> None:
    """List all views: their source, entity and state, and which deployments use them."""

    async def work(session: Session) -> list[dict[str, Any]]:
        store = await _store(session)
        return [_view_row(project, view, store) for project in session.projects.definitions for view in project.views]

    columns = ["view", "entity", "source", "features", "state", "entities", "newest_event"]
    show(run(work), columns, as_json=as_json, empty="no views: `headrace apply PROJECT` declares them")


def _view_row(project: ProjectDefinition, view: ViewDefinition, store: OnlineStore) -> dict[str, Any]:
    newest_s = store.newest_s(view.source)
    return {
        "view": view.name,
        "key": view.key,
        "project": project.name,
        "source": view.source,
        "entity": ", ".join(view.entity) or "(all)",
        "features": len(view.features),
        "used_by": [d.name for d in project.deployments if any(b.view == view.name for b in d.features)],
        "state": "built" if store.is_built(view.key) else "being built",
        "entities": store.entity_count(view.key),
        "newest_event": instant(newest_s) if newest_s > 0 else None,
    }


@app.command("show")
def show_view(view: Annotated[str, typer.Argument(help="A view's name.")], as_json: AsJson = False) -> None:
    """Show one view: the definition of each feature, and the origin of its events."""

    async def work(session: Session) -> tuple[ProjectDefinition, ViewDefinition]:
        return _view(session, view)

    project, found = run(work)
    source = project.source(found.source)
    made_by = [pipeline.name for pipeline in project.pipelines if source.name in pipeline.sources]
    about = {
        "view": found.name,
        "key": found.key,
        "entity": list(found.entity),
        "source": source.name,
        "available": source.available_at or f"{source.event_time} + {source.available_after_s:g} s",
        "written_by": made_by or ["users"],
        "features": [plain(feature) for feature in found.features],
    }
    if as_json:
        show_result(about, as_json=True, line="")
        return
    console.print(
        f"[bold]{found.name}[/] of {source.name} (written by {', '.join(about['written_by'])}), "
        f"per {', '.join(found.entity) or 'everything'}; an event counts from {about['available']}"
    )
    rows = [_feature_row(feature) for feature in found.features]
    show(rows, ["feature", "is", "window", "panes", "default", "stale_after"], as_json=False, empty="")


def _feature_row(feature: FeatureDefinition) -> dict[str, Any]:
    return {
        "feature": feature.name,
        "is": feature.aggregation if feature.column is None else f"{feature.aggregation} of {feature.column}",
        "window": _duration(feature.window_s),
        "panes": _duration(pane_width_s(feature.window_s)),
        "default": feature.default,
        "stale_after": None if feature.stale_after_s is None else _duration(feature.stale_after_s),
    }


def _duration(seconds: float) -> str:
    for unit, width in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= width and seconds % width == 0:
            return f"{seconds / width:.0f}{unit}"
    return f"{seconds:g}s"


@app.command("get")
def get(
    entity: Annotated[
        str,
        typer.Argument(
            help="An entity, such as UA or 7, or JFK|UA for a view of two fields (a | within a field is written \\\\|)."
        ),
    ],
    view: Annotated[str | None, typer.Option(help="Only of this view.")] = None,
    at: Annotated[
        str | None,
        typer.Option("--as-of", help="An instant: computed from the log, with the events behind each value."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print the feature values of an entity: from the online store, each as of the end of its newest pane; or from the log, as of an instant."""
    at_s = None if at is None else _instant(at)

    async def work(session: Session) -> list[dict[str, Any]]:
        if view is not None:
            _view(session, view)
        store = await _store(session)
        rows: list[dict[str, Any]] = []
        for project in session.projects.definitions:
            for found in project.views:
                if view in (None, found.name):
                    rows += await _values(session, project, found, entity, at_s, store)
        return rows

    rows = run(work)
    if not rows:
        raise Misconfigured(f"no view has an entity {entity!r}{f' in {view}' if view else ''}: `headrace feature list`")
    columns = ["feature", "value", "from", "to", "events", "offsets"] if at else ["feature", "value", "as_of"]
    show(rows, columns, as_json=as_json, empty="")


async def _values(
    session: Session,
    project: ProjectDefinition,
    view: ViewDefinition,
    entity: str,
    at_s: float | None,
    store: OnlineStore,
) -> list[dict[str, Any]]:
    plan = plan_view(project, view.name)
    named = named_by(kinds_of(plan.source, view.entity), entity)
    if named is None:
        return []
    entity = named
    if at_s is not None:
        table = await _table(session, plan)
        return _as_of_rows(plan, table, entity, at_s) if entity in table.codes(view.entity)[0] else []
    if not store.has(view.key, entity):
        return []
    return [_newest(plan, store, entity, place) for place in range(len(view.features))]


def _newest(plan: ViewPlan, store: OnlineStore, entity: str, place: int) -> dict[str, Any]:
    """A feature as of the instant at which the pane of the source's newest event is complete. Panes of long windows are longer."""
    width_s = pane_width_s(plan.view.features[place].window_s)
    at_s = (max(store.newest_s(plan.view.source), 0.0) // width_s + 1) * width_s
    value = float(store.lookup(plan.view.key, entity, at_s, 0.0)[place])
    return {
        "feature": plan.feature_names[place],
        "value": _known(value),
        "as_of": instant(at_s),
        "view": plan.view.key,
    }


async def _table(session: Session, plan: ViewPlan) -> EventTable:
    table = EventTable(plan.source)
    ends = await pin_offsets(session.log, [session.topics.of_source(plan.source.name)])

    def take(record) -> None:
        try:
            event, origin = session.codec.decode_event(record)
        except Poison:
            return
        table.take_event(event, origin, record.partition, record.offset, record.timestamp_ms)

    with console.status(f"reading {sum(ends.values()):,} events of {plan.source.name}"):
        await read_up_to(session.log, ends, take)
    return table


@dataclass(frozen=True)
class _Window:
    """The complete panes that a value covers, and the events in them."""

    from_s: float
    to_s: float
    events: int
    offsets: str


def _as_of_rows(plan: ViewPlan, table: EventTable, entity: str, at_s: float) -> list[dict[str, Any]]:
    values = as_of(plan, table, [entity], np.array([at_s]), plan.feature_delay_s).values[0]
    rows = []
    for feature, name, value in zip(plan.view.features, plan.feature_names, values.tolist(), strict=True):
        window = _window(plan, table, entity, feature, at_s)
        rows.append(
            {
                "feature": name,
                "value": _known(value),
                "from": instant(window.from_s),
                "to": instant(window.to_s),
                "events": window.events,
                "offsets": window.offsets,
            }
        )
    return rows


def _window(plan: ViewPlan, table: EventTable, entity: str, feature: FeatureDefinition, at_s: float) -> _Window:
    width_s = pane_width_s(feature.window_s)
    to_s = np.floor((at_s - plan.feature_delay_s) / width_s) * width_s
    from_s = to_s - feature.window_s
    index, codes = table.codes(plan.view.entity)
    inside = (codes == index[entity]) & (table.available >= from_s) & (table.available < to_s)
    return _Window(from_s, to_s, int(inside.sum()), _ranges(plan, table, inside))


def _ranges(plan: ViewPlan, table: EventTable, inside: np.ndarray) -> str:
    """The first and last offset of the events inside, per source partition."""
    found = []
    for partition in np.unique(table.partitions[inside]).tolist():
        offsets = table.offsets[inside & (table.partitions == partition)]
        found.append(f"{plan.source.name}/{partition}: {offsets.min()}..{offsets.max()}")
    return ", ".join(found)


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value


def _view(session: Session, name: str) -> tuple[ProjectDefinition, ViewDefinition]:
    for project in session.projects.definitions:
        for view in project.views:
            if view.name == name:
                return project, view
    known = ", ".join(sorted(view.name for project in session.projects.definitions for view in project.views)) or "none"
    raise Misconfigured(f"no view {name!r}; there are: {known}")


async def _store(session: Session) -> OnlineStore:
    """The online store as it is now."""
    store = OnlineStore()
    store.define(session.projects.definitions)
    view = View(session.log, session.codec, [session.topics.name("features.online")], store.apply)
    await view.start()
    await view.stop()
    return store


def _instant(text: str) -> float:
    try:
        return parse_instant(text)
    except Poison:
        raise Misconfigured(f"--as-of takes an instant such as 2013-02-01T06:00:00Z, got {text!r}") from None
