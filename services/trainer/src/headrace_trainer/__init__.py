"""Decides when a version is trained, on which rows, and whether it may ask for traffic."""
