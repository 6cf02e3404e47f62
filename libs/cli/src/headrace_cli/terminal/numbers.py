"""Limits of numbers on the command line. Every number is checked when it is entered, as `tests/test_mistyped.py` requires."""

# For partitions and versions; for offsets, as the broker stores them.
INT32 = 2**31 - 1
INT64 = 2**63 - 1
# The most records or runs that are listed.
MOST_SHOWN = 1_000_000
DAY_S = 86_400
# Seconds of events per second of the clock: a century in half a minute.
FASTEST = 1e8
