"""Settings of the monitor beyond the common ones."""

# How many records are taken between two looks at which evaluation windows may close.
MAX_BATCH = 2000
# How long a transaction may gather, in seconds: nobody waits for the offsets of what was read.
LINGER_S = 0.05
