"""Which topic a name stands for: the id that a broker gives a topic when it is created (KIP-516, Kafka 2.8 and later).

aiokafka 0.14 requests metadata up to version 5, which has no ids. Version 10 is the first that has, and is declared
here. An older broker gets the older request, and its topics have no ids.
"""

import uuid
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.metadata import MetadataRequest_v5
from aiokafka.protocol.types import Boolean, CompactArray, CompactString, Int16, Int32, Schema, TaggedFields

_UTF8 = "utf-8"


class Uuid(AbstractType[str]):
    """16 bytes as hexadecimal digits. All zeros mean no id, which is "" here."""

    @classmethod
    def encode(cls, value: str) -> bytes:
        return uuid.UUID(value or "0" * 32).bytes

    @classmethod
    def decode(cls, data: BytesIO) -> str:
        found = uuid.UUID(bytes=data.read(16))
        return found.hex if found.int else ""


class MetadataResponseV10(Response):
    """The metadata of topics in Kafka 2.8 and later."""

    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString(_UTF8)),
                ("port", Int32),
                ("rack", CompactString(_UTF8)),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString(_UTF8)),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("topic", CompactString(_UTF8)),
                ("topic_id", Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_authorized_operations", Int32),
        ("tags", TaggedFields),
    )


class MetadataRequestV10(RequestStruct):
    """The request for it."""

    FLEXIBLE_VERSION = True
    API_KEY = 3
    API_VERSION = 10
    RESPONSE_TYPE = MetadataResponseV10
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", Uuid), ("topic", CompactString(_UTF8)), ("tags", TaggedFields))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class TopicIdsRequest(Request[MetadataRequest_v5 | MetadataRequestV10]):
    """Requests the ids of some topics, without creating any."""

    API_KEY = 3

    def __init__(self, topics: Sequence[str]) -> None:
        self._topics = list(topics)

    def build(
        self, request_struct_class: type[MetadataRequest_v5 | MetadataRequestV10]
    ) -> MetadataRequest_v5 | MetadataRequestV10:
        if request_struct_class is MetadataRequest_v5:
            return MetadataRequest_v5(self._topics, False)
        return MetadataRequestV10([("", name, {}) for name in self._topics], False, False, False, {})


def ids_of(answer: Mapping[str, Any]) -> dict[str, str]:
    """The id of each existing topic in an answer, "" where the broker gives none."""
    return {found["topic"]: found.get("topic_id", "") for found in answer["topics"] if not found["error_code"]}
