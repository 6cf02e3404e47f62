"""A drill: deliberate faults under load, on its own installation; the results are checked from the log."""
