"""Reads the log about services, versions, rollouts and decisions."""
