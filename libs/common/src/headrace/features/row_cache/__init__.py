"""Reads the log for a deployment's rows, and keeps on disk what was read."""
