"""Point-in-time rows as files: what was read is kept beside them, so that a second build reads only what is new."""
