"""Settings of the feature service beyond the common ones."""

# Records folded between two writes of the touched tiles: larger batches write a busy tile less often.
MAX_BATCH = 5000
