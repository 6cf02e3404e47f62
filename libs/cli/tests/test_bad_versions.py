"""The bad versions of the demo are real models: they load and warm up, and only live traffic shows their faults."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from headrace.events.inference import PredictionRequested
from headrace.log.topics import Topics
from headrace.models import skops_format
from headrace.project.compile import compile_project
from headrace.project.compile_streams import event_struct
from headrace_cli.demo.bad_versions import Gathered, _LookingAhead, look_ahead, raising
from headrace_flights.events import Departure, Landing
from headrace_flights.pipelines import follow_flights
from headrace_flights.project import project
from headrace_flights.schedule import EPOCH_S, Schedule
from headrace_pipeline.testing import run_pipeline

DAYS = 6
UNTIL_S = EPOCH_S + DAYS * 86_400.0


@pytest.fixture(scope="module")
def gathered() -> Gathered:
    """Six days of real flights."""
    definition, topics, schedule = compile_project(project), Topics.load(), Schedule()
    found = _LookingAhead(definition, definition.deployments[0], topics, EPOCH_S, UNTIL_S, UNTIL_S + 86_400)
    at, places, kinds = schedule.movements
    count = int(np.searchsorted(at, UNTIL_S + 86_400))
    flown = run_pipeline(
        follow_flights, [schedule.movement(float(at[n]), int(places[n]), int(kinds[n]))[1] for n in range(count)]
    )
    names = {Departure: "departures", Landing: "landings"}
    structs = {source.name: event_struct(source) for source in definition.sources}
    for event in flown.events:
        if type(event) in names:
            table = found.tables[topics.of_source(names[type(event)])]
            fields = {name: getattr(event, name) for name in event.__struct_fields__}
            table.add(structs[names[type(event)]](**fields), 0, len(table))
    delays = schedule.flights["arrival_delay_min"].fill_null(999).to_list()
    places_of = {ident: place for place, ident in enumerate(schedule.flight_ids)}
    for asked in schedule.requests(EPOCH_S, UNTIL_S):
        request = PredictionRequested("flight-delay", asked.inputs, asked.flight_id)
        found.request(asked.flight_id, asked.at_s, asked.flight_id, request)
        found.label(asked.flight_id, asked.at_s + 3600, float(delays[places_of[asked.flight_id]] > 15))
    return found


def test_a_look_ahead_is_far_too_good_on_its_own_rows_and_its_rows_differ_from_served_ones(gathered: Gathered) -> None:
    bad = look_ahead(gathered)
    rows = gathered.rows({}).labelled()
    ahead = bad.model.predict_proba(rows.matrix(gathered.deployment, bad.signature))[:, 1]
    rows.features = Gathered._features(gathered, rows.inputs, rows.at_s)
    live = bad.model.predict_proba(rows.matrix(gathered.deployment, bad.signature))[:, 1]
    assert bad.alike_share < 0.2
    assert roc_auc_score(rows.labels, ahead) > 0.9
    assert roc_auc_score(rows.labels, live) < 0.8


def test_the_raising_version_loads_warms_up_and_refuses_distances_that_it_has_not_seen(gathered: Gathered) -> None:
    bad = raising(gathered)
    model = skops_format.load(skops_format.dump(bad.model))
    model.predict_proba(np.zeros((64, len(bad.signature.columns)), np.float32))
    rows = gathered.rows({}).matrix(gathered.deployment, bad.signature)
    with pytest.raises(ValueError, match="unknown categories"):
        model.predict_proba(rows)
