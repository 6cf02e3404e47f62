"""Settings of the registry beyond the common ones."""

# How often a rollout looks whether all instances are warm, and whether it was heard of.
TICK_S = 0.05
