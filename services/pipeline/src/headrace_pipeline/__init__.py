"""Decides which of the user's transforms run, and what may pass them."""
