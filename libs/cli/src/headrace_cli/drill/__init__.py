"""A drill: faults on purpose, under load, on an installation of its own; what must hold is checked from the log."""
