"""Decides which tiles an event touches."""
