"""The pipeline service on a real broker: projects that are not allowed, that end the process when imported, or that have the names of others."""

import asyncio
import signal

import pytest
from tests.cases.pipeline_place import Place, has

pytestmark = [pytest.mark.kafka, pytest.mark.faults, pytest.mark.timeout(300)]


TWIN = """
import msgspec
from headrace.project import *

class Seen(msgspec.Struct):
    at: float
    name: str

seen, twins = Source("twins-seen", event=Seen, event_time="at", key="name"), RawStream("twins", partitions=1)

@pipeline(twins, to=[seen])
async def fine(messages):
    async for message in messages:
        yield Seen(message["at"], message["name"] + " of twin")

project = Project("twin", [Deployment("e", "v", [Key("k")])], raw=[twins], sources=[seen], pipelines=[fine])
"""


WILD = """
import ctypes, sys
import msgspec
from headrace.project import *

if "headrace_pipeline.app" in sys.modules:
    ctypes.string_at(0)

class Wild(msgspec.Struct):
    at: float
    name: str

wild, feed = Source("wild", event=Wild, event_time="at", key="name"), RawStream("wild", partitions=1)

@pipeline(feed, to=[wild])
async def wildly(messages):
    async for message in messages:
        yield Wild(message["at"], message["name"])

project = Project("wild", [Deployment("w", "u", [Key("k")])], raw=[feed], sources=[wild], pipelines=[wildly])
"""


async def test_a_project_that_ends_the_process_when_it_is_imported_is_left_out_after_the_second_time(
    place: Place,
) -> None:
    await place.send("good", {"name": "a"})
    await place.until(lambda: has(place.names("seen"), "a"))
    place.apply(code=WILD, name="wild.py")
    assert place.service is not None
    assert await asyncio.to_thread(place.service.wait, 60) == 75
    for _ in range(2):
        place.start()
        assert await asyncio.to_thread(place.service.wait, 60) == -signal.SIGSEGV
    place.start()
    await place.send("good", {"name": "b"})
    await place.until(lambda: has(place.names("seen"), "b"))

    async def is_reported() -> bool:
        beat = await place.health()
        return beat is not None and "project wild, pipeline wildly: its import ended the process 2 times" in beat.reason

    await place.until(is_reported)
    assert place.end() == 0
    (place.folder / "wild.py").write_text(WILD.replace("ctypes.string_at(0)", "pass"))
    place.start()
    await place.send("wild", {"name": "mended"})
    await place.until(lambda: has(place.names("wild"), "mended"))


async def test_a_project_that_this_host_does_not_allow_is_not_imported_and_the_others_are_hosted(place: Place) -> None:
    await place.send("good", {"name": "a"})
    await place.until(lambda: has(place.names("seen"), "a"))
    assert place.end() == 0
    place.start(HEADRACE_ALLOWED_PROJECTS="flights")

    async def is_reported() -> bool:
        beat = await place.health()
        return beat is not None and "project mischief is not allowed here" in beat.reason

    await place.until(is_reported)
    assert place.service is not None
    assert place.service.poll() is None


async def test_a_project_whose_module_has_the_name_of_another_ones_does_not_run_the_other_ones_code(
    place: Place,
) -> None:
    await place.send("good", {"name": "a"})
    await place.until(lambda: has(place.names("seen"), "a"))
    assert place.end() == 0
    twin = place.folder / "twin"
    twin.mkdir()
    place.apply(twin, TWIN)
    await place.send("twins", {"name": "t"})
    await place.send("good", {"name": "b"})
    place.start()
    message = "module 'mischief' of "

    async def is_reported() -> bool:
        beat = await place.health()
        return beat is not None and message in beat.reason and "has this name in this process" in beat.reason

    await place.until(is_reported)
    # The one that came first is hosted, and neither runs the code of the other.
    beat = await place.health()
    assert beat is not None
    hosted = "twins-seen" if f"{message}{place.folder} " in beat.reason else "seen"
    await place.until(lambda: has(place.names(hosted), "t of twin" if hosted == "twins-seen" else "b"))
    assert await place.buried() == []
