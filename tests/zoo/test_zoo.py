"""Models of other libraries, as their makers save them, are served with the maker's own scores through every way in, or refused by name.

A model is registered as by `headrace model register`. 200 requests that its contract allows (with another seed than at registration)
are sent by HTTP, V2 with binary tensors, the client, and the client over Kafka. Requests that the maker's own library refuses are left out.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from tests.zoo import boosted, scikit
from tests.zoo.clients import by_client, by_http, by_v2
from tests.zoo.exhibits import Exhibit
from tests.zoo.keeping import Kept, registered

from headrace.errors import Misconfigured, Poison
from headrace.models.proving import apart

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning", "ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:X does not have valid feature names:UserWarning"),
    pytest.mark.filterwarnings("ignore:Found unknown categories:UserWarning"),
]

# Why a file cannot be served. There are no other reasons.
FREE_TEXT = "reads free text, and a row holds numbers and the codes of known texts"
BARE_LABELS = "gives labels and no probabilities: calibrate it"
SEVERAL = "predicts several labels at once, and an answer has one"
REFUSED = {"counted-words": FREE_TEXT, "margins": BARE_LABELS, "two-targets": SEVERAL}

# One of each sort, for the daily run.
FEW = (
    "scaled-logistic",
    "forest",
    "hist-boosted-codes",
    "months",
    "mixed-imputed",
    "linear",
    "xgboost-words",
    "onnx-logistic",
)
EVERY = scikit.KEPT | boosted.KEPT


def _kept(names: Sequence[str]) -> list[Kept]:
    return [registered(EVERY[name](name)) for name in names if name not in REFUSED]


async def _gaps(opened: Callable[..., Any], kept: Sequence[Kept]) -> dict[str, dict[str, float]]:
    """The differences between answers and the maker's scores that are too large, per exhibit and way in."""
    found: dict[str, dict[str, float]] = {}
    async with opened(kept) as clients:
        for one in kept:
            known = np.isfinite(one.own).all(axis=1)
            inputs = [asked for asked, is_known in zip(one.asked.inputs, known, strict=True) if is_known]
            answers = {
                "http": await by_http(clients.web, one, inputs),
                "v2": await by_v2(clients.web, one, inputs),
                "client": await by_client(clients.client, one, inputs),
                "kafka": await by_client(clients.kafka, one, inputs),
            }
            gaps = {way: float(apart(scores, one.own[known]).max()) for way, scores in answers.items()}
            found[one.exhibit.name] = {way: gap for way, gap in gaps.items() if not gap <= one.within}
    return {name: gaps for name, gaps in found.items() if gaps}


async def test_zoo_one_of_each_sort_is_served_with_its_makers_scores_by_every_way_in(
    opened: Callable[..., Any],
) -> None:
    assert await _gaps(opened, _kept(FEW)) == {}


@pytest.mark.slow
@pytest.mark.parametrize(
    "part", [scikit.KEPT, boosted.NATIVE, boosted.CONVERTED, boosted.TOOLS], ids=["scikit", "native", "onnx", "tools"]
)
async def test_zoo_all_are_served_with_their_makers_scores_by_every_way_in(
    opened: Callable[..., Any], part: dict[str, Callable[[str], Exhibit]]
) -> None:
    kept = _kept(list(part))
    assert await _gaps(opened, kept) == {}
    assert min(np.isfinite(one.own).all(axis=1).sum() for one in kept) >= 100


WHOLE = boosted.NATIVE | boosted.CONVERTED | boosted.TOOLS | scikit.KEPT
EIGHTS = [list(WHOLE)[begin : begin + 8] for begin in range(0, len(WHOLE), 8)]


@pytest.mark.slow
@pytest.mark.parametrize("names", EIGHTS, ids=[names[0] for names in EIGHTS])
async def test_zoo_all_are_registered_by_command_tried_by_the_child_and_served_by_services_of_their_own(
    opened_whole: Callable[..., Any], names: list[str]
) -> None:
    assert await _gaps(opened_whole, _kept(names)) == {}


def test_zoo_what_is_refused_is_refused_for_its_reason() -> None:
    messages = {}
    for name in REFUSED:
        exhibit = EVERY[name](name)
        with pytest.raises((Misconfigured, Poison)) as refused:
            registered(exhibit)
        messages[name] = str(refused.value)
    assert {name: reason in messages[name] for name, reason in REFUSED.items()} == dict.fromkeys(REFUSED, True)


def test_zoo_has_forty_of_scikit_learn_and_refuses_at_most_six_of_them_and_none_of_the_boosters() -> None:
    assert len(scikit.KEPT) == 40
    assert len(REFUSED.keys() & scikit.KEPT.keys()) <= 6
    assert not REFUSED.keys() & boosted.NATIVE.keys()
    assert set(FEW) <= EVERY.keys() - REFUSED.keys()
