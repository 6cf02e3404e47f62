"""What is known of versions: as much as the registry's topic holds, and how large that is."""

from typing import Any

from headrace.log.codec import tombstone
from headrace.log.envelope import Envelope
from headrace.log.views import read_all
from headrace_inference.adapters.registry_view import RegistryView

Bench = Any  # the fixture of conftest.py


async def test_the_size_of_what_is_known_of_versions_follows_what_is_registered_again_and_deleted(bench: Bench) -> None:
    await bench.register("plain", 1, vocabularies={})
    await bench.register("plain", 2, vocabularies={})
    await bench.register("plain", 1, vocabularies={}, reason="once more")
    topic = bench.topics.name("registry.models")
    await bench.send([tombstone(topic, "plain/2", Envelope("gone", "", "test", 0.0))])
    view = RegistryView(bench.log, bench.codec, bench.topics)
    found = await read_all(bench.log, bench.codec, [topic])
    for message in found:
        view.take(message)
    newest = [message for message in found if message.event and message.event.registered.version == 1][-1]
    assert view.versions.keys() == {("plain", 1)}
    assert view.bytes == len(newest.record.value)
