"""Settings of inference beyond the common ones."""

# Requests handled as one micro-batch: one model call per version for all of them.
MAX_BATCH = 500
