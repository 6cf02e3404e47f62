"""Reading the log for a deployment's rows, keeping on disk what was read."""
