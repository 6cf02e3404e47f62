"""The topics of an installation, by its settings."""

from headrace.hosting.settings import Settings
from headrace.log.topics import Topics


def topics_of(settings: Settings) -> Topics:
    """The topics of these settings: namespace and partition counts."""
    return Topics.load(settings.namespace, requests=settings.partitions_requests, replies=settings.partitions_replies)
