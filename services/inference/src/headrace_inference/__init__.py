"""Decides which version answers a request, and what answers when it cannot."""
