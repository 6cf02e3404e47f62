"""A users' topic, a source and the codec that read them: for the tests of the border of the log."""

import msgspec

from headrace.log.codec import Codec
from headrace.log.topics import Topics

TOPICS = Topics.load("border")
REQUESTS = TOPICS.name("inference.requests")
NOW_MS = 1_700_000_000_000


class Landing(msgspec.Struct):
    at: float
    carrier: str


LANDINGS = TOPICS.of_source("landings")
CODEC = Codec(TOPICS, {LANDINGS: Landing})


GOOD = b'{"deployment":"d","unit":"u"}'
