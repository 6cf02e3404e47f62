"""Settings of the trainer beyond the common ones."""

# How often facts of a running training leave.
TICK_S = 0.1
