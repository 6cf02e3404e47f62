"""What a shard reports about its sources in the health record of the service."""

from headrace.features.origins import MOST_PLACES, MOST_SPARSE
from headrace.hosting.health import Health
from headrace_feature.core.source_fold import SourceFold
from headrace_feature.settings import STATE_BYTES

_ORIGINS_BYTES = (MOST_SPARSE + 4 * MOST_PLACES) * 100


def report_source(health: Health, name: str, shard: int, fold: SourceFold) -> None:
    """Report how new the events of a source are, how many did not count, and what its state takes.

    The service is not ready while the tiles or the identities of one source's partition take more than `STATE_BYTES`.
    """
    place, limit = f"{name}/{shard}", STATE_BYTES
    health.newest_event_s[place] = fold.newest_s
    health.late[place] = fold.late
    health.repeated[place] = fold.repeated
    health.holds(f"tiles {place}", fold.held_bytes(), limit)
    health.holds(f"origins {place}", fold.origins.held_bytes, _ORIGINS_BYTES)
    if fold.source.dedupe is not None:
        health.holds(f"identities {place}", fold.repeats.held_bytes, limit)
    if fold.is_over(limit):
        health.fail(
            f"state:{place}", f"{place} keeps more than {limit:,} bytes of tiles or identities: too many entities"
        )
    else:
        health.clear(f"state:{place}")
