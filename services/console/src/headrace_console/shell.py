"""Gather, decide, act."""
