"""The search finds what there is, the closest first."""

import pytest
from services.console.tests.known import Known

from headrace.project import Deployment, Number
from headrace_console.core.catalogue import as_of_s, read_key
from headrace_console.core.places import read_place
from headrace_console.core.search import find


def test_everything_is_found_by_what_a_person_types() -> None:
    known = Known().champion(2).finding().alert()
    assert [(hit.kind, hit.link) for hit in find(known.world, "d v2")] == [("version", "/deployments/d/versions/2")]
    assert [hit.link for hit in find(known.world, "f1")] == ["/deployments/d/findings/f1"]
    assert [(hit.kind, hit.text) for hit in find(known.world, "breaker")] == [("alert", "BreakerOpen")]
    assert [hit.kind for hit in find(known.world, "dead")] == ["page"]
    assert find(known.world, "  ") == find(known.world, "nowhere") == []


def test_the_closest_comes_first_and_no_more_than_twenty() -> None:
    names = ["flight", "my-flight", *(f"flight-{number:02}" for number in range(40))]
    found = find(Known(*(Deployment(name, unit="u", inputs=[Number("x")]) for name in names)).world, "FLIGHT")
    assert (len(found), found[0].text) == (20, "flight")


@pytest.mark.parametrize(
    "text", ["", "now/x", "deployment", "deployment/", "version/d", "version//1", "nothing", "finding/d/", "x" * 500]
)
def test_what_is_no_key_is_none(text: str) -> None:
    assert read_key(text) is None


def test_a_document_is_as_old_as_the_oldest_that_it_rests_on() -> None:
    key = read_key("finding/d/f1")
    assert key is not None
    assert as_of_s(key, {"control": 5.0, "measurements": 3.0}) == 3.0
    assert as_of_s(key, {"control": 5.0, "measurements": None}) is None


@pytest.mark.parametrize("text", ["", "a/b/c", "a/0", "a/0/0/0", "../etc/0/0", "a/-1/0", "a/0/" + "9" * 30, "a/٣/0"])
def test_what_is_no_place_is_none(text: str) -> None:
    assert read_place(text) is None


def test_who_asks_for_what_is_not_there_leaves_nothing_behind() -> None:
    known = Known()
    for number in range(50):
        for kind in ("deployment", "series", "timeline"):
            assert known.document(f"{kind}/nobody-{number}") is None
        assert known.document(f"version/nobody-{number}/1") is known.document(f"finding/nobody-{number}/f") is None
    assert known.world.releases.stories == {}
    assert known.world.names() == ["d"]
