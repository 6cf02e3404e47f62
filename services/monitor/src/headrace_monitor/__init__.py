"""Decides whether what was served still holds: quality, drift, skew, and which alert follows."""
