"""A service as a process: its consumer group and commits, start and end, settings, health, metrics and logs."""
