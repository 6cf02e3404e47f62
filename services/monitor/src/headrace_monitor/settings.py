"""Settings of the monitor beyond the common ones."""

# Records taken between two looks at which cohorts may close.
MAX_BATCH = 2000
