"""A local installation: its supervisor, its processes, its folder and its alerts."""
