"""Settings of the registry beyond the common ones."""

# How often it is looked whether all instances have the version of a rollout warm, and whether a wait has run out.
TICK_S = 0.05
# How often the health record reports what the growing states take.
REPORT_EVERY_S = 2.0
