"""Settings of the pipeline service beyond the common ones."""

NOT_YET = "no partition of a raw stream is assigned yet"
# Importing a user's project may take so long, waiting for a core not counted.
IMPORT_WITHIN_S = 120.0
# Threads that hang and cannot be ended: each may take a share of the process's time; with so many it starts anew.
MOST_HUNG = 4
LOOK_EVERY_S = 0.5
LOOK_AT_TOPICS_S = 5.0
