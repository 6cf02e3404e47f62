"""Settings of the trainer beyond the common ones."""

# How often facts of running trainings are read and leave.
TICK_S = 0.1
