"""How large a number on the command line may be: every one is bounded where it enters, as `tests/test_mistyped.py` asks."""

# Of partitions and versions; of offsets, as the broker keeps them.
INT32 = 2**31 - 1
INT64 = 2**63 - 1
# So many records or runs somebody may want to read.
MOST_SHOWN = 1_000_000
DAY_S = 86_400
# Seconds of events in a second of the clock: a century in half a minute.
FASTEST = 1e8
