"""Settings of inference beyond the common ones."""

# Requests handled as one micro-batch: one model call per version for all of them. More of them make a row no cheaper, and
# make the first answer wait for the last.
MAX_BATCH = 256
# Decisions that no reply waits for may gather for so long: a transaction costs as much as hundreds of them.
LINGER_S = 0.05
