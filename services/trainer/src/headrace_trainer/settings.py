"""Settings of the trainer beyond the common ones."""

# How often the journals of runs are read, and their facts published.
TICK_S = 0.1
