"""Decides what people see of an installation, and what they may do about it."""
