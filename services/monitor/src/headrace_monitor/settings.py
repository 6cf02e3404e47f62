"""Settings of the monitor beyond the common ones."""

# Records taken between two looks at which cohorts may close.
MAX_BATCH = 2000
# A transaction may gather for so long: nobody waits for the offsets of what was read.
LINGER_S = 0.05
