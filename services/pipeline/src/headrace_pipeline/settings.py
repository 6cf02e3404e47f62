"""Settings of the pipeline service beyond the common ones."""

NOT_YET = "no partition of a raw stream is assigned yet"
