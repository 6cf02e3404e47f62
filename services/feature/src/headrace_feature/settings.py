"""Settings of the feature service beyond the common ones."""

# Records folded between two writes of the touched tiles: larger batches write a busy tile less often.
MAX_BATCH = 5000
# A transaction may gather for so long: it costs the broker and us as much as hundreds of events.
LINGER_S = 0.02
# What the tiles, or the identities, of one source's partition may take before the service is not ready any more.
STATE_BYTES = 512 * 1_048_576
